{{/* On which node a pod runs. */}}

{{/* A node must do by one of our terms and by one of the user's. */}}
{{- define "gguf-server.scheduling.nodeTerms" -}}
{{- $ours := list }}
{{- if include "gguf-server.gpu.choosesNodes" . }}{{ $ours = include "gguf-server.gpu.requiredTerms" . | fromYamlArray }}{{ end }}
{{- $theirs := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" list .Values.affinity }}
{{- if not (and $ours $theirs) }}
{{- with concat $ours $theirs }}{{ toYaml . }}{{ end }}
{{- else }}
{{- $both := list }}
{{- range $our := $ours }}{{ range $their := $theirs }}
{{- $expressions := concat $our.matchExpressions (default list $their.matchExpressions) }}
{{- $both = append $both (merge (dict "matchExpressions" $expressions) $their) }}
{{- end }}{{ end }}
{{- toYaml $both }}
{{- end }}
{{- end }}

{{- define "gguf-server.scheduling.preferredNodeTerms" -}}
{{- $ours := list }}
{{- if include "gguf-server.gpu.choosesNodes" . }}{{ $ours = include "gguf-server.gpu.preferredTerms" . | fromYamlArray }}{{ end }}
{{- $theirs := dig "nodeAffinity" "preferredDuringSchedulingIgnoredDuringExecution" list .Values.affinity }}
{{- with concat $ours $theirs }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Where the volume is: pods of one claim meet on one node. The first one chooses it. */}}
{{- define "gguf-server.scheduling.podTerms" -}}
{{- $ours := list }}
{{- if include "gguf-server.volume.isOfOneNode" . }}
{{- $selector := dict "matchLabels" (include "gguf-server.labels.volume" . | fromYaml) }}
{{- $ours = list (dict "topologyKey" "kubernetes.io/hostname" "labelSelector" $selector) }}
{{- end }}
{{- $theirs := dig "podAffinity" "requiredDuringSchedulingIgnoredDuringExecution" list .Values.affinity }}
{{- with concat $ours $theirs }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* By the claim: two releases may have one between them. */}}
{{- define "gguf-server.labels.volume" -}}
{{- $claim := ternary .Values.volume.existingClaim (include "gguf-server.fullname" .) (eq .Values.volume.type "existingClaim") }}
gguf-server/volume: {{ ternary $claim (sha256sum $claim | trunc 63) (le (len $claim) 63) | quote }}
{{- end }}

{{- define "gguf-server.scheduling.affinity" -}}
{{- $required := include "gguf-server.scheduling.nodeTerms" . | fromYamlArray }}
{{- $preferred := include "gguf-server.scheduling.preferredNodeTerms" . | fromYamlArray }}
{{- $pods := include "gguf-server.scheduling.podTerms" . | fromYamlArray }}
{{- $node := dict }}
{{- if $required }}{{ $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $required) }}{{ end }}
{{- if $preferred }}{{ $_ := set $node "preferredDuringSchedulingIgnoredDuringExecution" $preferred }}{{ end }}
{{- $affinity := omit .Values.affinity "nodeAffinity" }}
{{- if $node }}{{ $_ := set $affinity "nodeAffinity" $node }}{{ end }}
{{- if $pods }}
{{- $with := merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $pods) (default dict $affinity.podAffinity) }}
{{- $_ := set $affinity "podAffinity" $with }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "gguf-server.scheduling.spread" -}}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "gguf-server.labels.selector" . | nindent 8 }}
{{- end }}
{{- end }}

{{- define "gguf-server.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- include "gguf-server.scheduling.affinity" . }}
{{- with concat (include "gguf-server.gpu.toleration" . | fromYamlArray) .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- end }}
