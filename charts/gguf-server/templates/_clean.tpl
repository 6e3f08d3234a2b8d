{{/* Makes room in the volume. A server cannot say that it uses a model, for it may not write: so what
     the release serves is fetched first, which downloads nothing, and counts as used from then on. */}}
{{- define "gguf-server.clean.pod" -}}
{{- include "gguf-server.pod.common" . }}
enableServiceLinks: false
restartPolicy: Never
{{- include "gguf-server.scheduling" . }}
containers:
  - name: clean
    image: {{ include "gguf-server.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [sh, -c, 'gguf-server fetch --offline && exec gguf-server clean --yes "$@"', clean]
    args:
      {{- toYaml .Values.volume.clean | nindent 6 }}
    env:
      {{- include "gguf-server.environment.fetch" (dict "root" . "waits" true) | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    {{- with .Values.fetch.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml .Values.securityContext | nindent 6 }}
    volumeMounts:
      - {name: models, mountPath: /models}
      - {name: tmp, mountPath: /tmp}
volumes:
  - {{ include "gguf-server.volume" . | nindent 4 | trim }}
  - name: tmp
    emptyDir: {sizeLimit: {{ .Values.temporarySize }}}
{{- end }}

{{/* Of a Job's pods: (list $ "fetch"). They serve nobody. */}}
{{- define "gguf-server.job.labels" -}}
{{- $root := first . }}
{{- merge (include "gguf-server.labels.instance" $root | fromYaml) (dict "app.kubernetes.io/component" (last .)) (include "gguf-server.labels.volume" $root | fromYaml) $root.Values.podLabels $root.Values.commonLabels | toYaml }}
{{- end }}
