{{/* A Job's pod on a node that could serve, too: there is where the volume may stay. */}}
{{- define "gguf-server.prefetch.pod" -}}
{{- include "gguf-server.pod.common" . }}
enableServiceLinks: false
restartPolicy: OnFailure
{{- include "gguf-server.scheduling" . }}
containers:
  - {{ include "gguf-server.container.fetch" (dict "root" . "waits" false) | nindent 4 | trim }}
volumes:
  - {{ include "gguf-server.volume" . | nindent 4 | trim }}
  - name: tmp
    emptyDir: {sizeLimit: {{ .Values.temporarySize }}}
{{- end }}
