{{/* What cannot work, said before it is tried. Each message ends with what to set. */}}

{{- define "gguf-server.validations" -}}
{{- range $check := list "model" "engine" "environment" "volume" "rollout" "time" "gpu" "network" "autoscaling" }}
{{- with include (printf "gguf-server.validations.%s" $check) $ | trim }}
{{- fail (printf "\n\ngguf-server: %s\n" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gguf-server.validations.model" -}}
{{- $model := .Values.model }}
{{- if not $model.name -}}
model.name is empty: --set model.name=org/repo, or write values with gguf-deploy plan org/repo --format helm
{{- else if and $model.revision (or (contains "@" $model.name) (include "gguf-server.model.isFile" .)) -}}
model.revision does not go with model.name {{ $model.name }}: leave one of the two revisions
{{- else if and $model.quantization (or (contains ":" $model.name) (include "gguf-server.model.isFile" .)) -}}
model.quantization does not go with model.name {{ $model.name }}: leave one of the two
{{- else if and (include "gguf-server.model.isFile" .) (has .Values.volume.type (list "pvc" "ephemeral")) (not .Values.extraVolumeMounts) -}}
model.name {{ $model.name }} is a file, and a new volume has none: set volume.type to existingClaim, hostPath or image
{{- else if and (include "gguf-server.model.isFile" .) (not (hasPrefix "/models/" $model.name)) (not .Values.extraVolumeMounts) -}}
model.name {{ $model.name }} is not in the volume, which is at /models: set model.name to /models/..., or extraVolumeMounts
{{- end }}
{{- end }}

{{- define "gguf-server.validations.engine" -}}
{{- if include "gguf-server.engine.isVllm" . }}
{{- if regexMatch "[@:]" .Values.model.name -}}
engine vllm wants model.name org/repo and the commit in model.revision, not {{ .Values.model.name }}
{{- else if eq .Values.volume.type "image" -}}
engine vllm does not know volume.type image: set volume.type to pvc, existingClaim, ephemeral or hostPath
{{- end }}
{{- end }}
{{- end }}

{{/* What the chart sets and other parts follow from. */}}
{{- define "gguf-server.validations.environment" -}}
{{- $instead := dict
  "MODEL_NAME" "model.name" "GGUF_PORT" "service.port" "GGUF_MODELS_DIR" "volume" "GGUF_PLAN" "plan"
  "GGUF_DRAIN_DELAY_SECONDS" "drain.delaySeconds" "GGUF_DRAIN_GRACE_SECONDS" "drain.graceSeconds"
  "GGUF_API_KEYS" "apiKey.existingSecret" "GGUF_API_KEY_FILE" "apiKey.existingSecret"
  "HF_TOKEN" "fetch.token.existingSecret" "HF_ENDPOINT" "fetch.endpoint"
  "GGUF_TLS_CERT" "ingress.tls" "GGUF_TLS_KEY" "ingress.tls" }}
{{- $names := keys .Values.server.environment }}
{{- range .Values.server.extraEnv }}{{ $names = append $names .name }}{{ end }}
{{- range $names | sortAlpha }}
{{- if hasKey $instead . }}
server.environment and server.extraEnv cannot have {{ . }}: set {{ get $instead . }}
{{- break }}
{{- end }}
{{- end }}
{{- end }}

{{- define "gguf-server.validations.volume" -}}
{{- $volume := .Values.volume }}
{{- if and (eq $volume.type "existingClaim") (not $volume.existingClaim) -}}
volume.type existingClaim wants its name: set volume.existingClaim
{{- else if and (eq $volume.type "hostPath") (not (hasPrefix "/" $volume.hostPath)) -}}
volume.type hostPath wants a directory of the node: set volume.hostPath to an absolute path
{{- else if and (eq $volume.type "image") (not (regexMatch "@sha256:[0-9a-f]{64}$" $volume.image)) -}}
volume.type image wants a digest, for a tag can move: set volume.image to registry/name@sha256:...
{{- else if and (eq $volume.type "image") (semverCompare "<1.35-0" .Capabilities.KubeVersion.Version) -}}
volume.type image wants Kubernetes 1.35, this is {{ .Capabilities.KubeVersion.Version }}, which would drop the volume: set volume.type to pvc
{{- else if and $volume.clean (not (has $volume.type (list "pvc" "existingClaim" "hostPath"))) -}}
volume.clean is for a volume that stays, and volume.type {{ $volume.type }} does not: leave volume.clean empty
{{- else if and $volume.clean (or (include "gguf-server.engine.isVllm" .) (include "gguf-server.model.isFile" .)) -}}
volume.clean knows what gguf-server fetched, which {{ .Values.model.name }} is not: leave volume.clean empty
{{- else if and .Values.fetch.prefetch (has $volume.type (list "ephemeral" "hostPath")) -}}
fetch.prefetch brings the model to one volume, and volume.type {{ $volume.type }} has one for each pod or node: set volume.type to pvc, or fetch.prefetch to false
{{- else if and .Values.fetch.enabled (not (include "gguf-server.model.isFile" .)) (eq (join "," $volume.accessModes) "ReadOnlyMany") (eq $volume.type "existingClaim") -}}
volume.accessModes is ReadOnlyMany, so nothing can be fetched into it: set fetch.enabled to false
{{- end }}
{{- end }}

{{- define "gguf-server.validations.rollout" -}}
{{- $most := include "gguf-server.rollout.mostReplicas" . | int }}
{{- $rolls := eq (include "gguf-server.rollout.type" .) "RollingUpdate" }}
{{- if and (gt $most 1) (not (include "gguf-server.volume.isShared" .)) -}}
{{ $most }} replicas cannot share a volume with volume.accessModes {{ join "," .Values.volume.accessModes }}: set volume.accessModes to [ReadWriteMany] (with a storage class that can), or volume.type to ephemeral, or replicas to 1
{{- else if and $rolls (include "gguf-server.volume.isOfOnePod" .) (ne (include "gguf-server.rollout.maxSurge" .) "0") -}}
a ReadWriteOncePod volume cannot be with an old and a new pod at once: set rollout.strategy to Recreate, or volume.accessModes to [ReadWriteOnce]
{{- else if and $rolls (eq (include "gguf-server.rollout.maxSurge" .) "0") (eq (include "gguf-server.rollout.maxUnavailable" .) "0") -}}
a rollout with neither a pod more nor a pod less cannot begin: set rollout.maxSurge or rollout.maxUnavailable to 1
{{- else if and (not $rolls) (not (and (kindIs "invalid" .Values.rollout.maxSurge) (kindIs "invalid" .Values.rollout.maxUnavailable))) -}}
rollout.maxSurge and rollout.maxUnavailable are of RollingUpdate: set them to null, or rollout.strategy to RollingUpdate
{{- end }}
{{- end }}

{{- define "gguf-server.validations.time" -}}
{{- $startup := include "gguf-server.startup.seconds" . | int64 }}
{{- $drain := add .Values.drain.delaySeconds .Values.drain.graceSeconds }}
{{- if le (include "gguf-server.progressDeadlineSeconds" . | int64) $startup -}}
progressDeadlineSeconds {{ .Values.progressDeadlineSeconds }} is over before the startup probe's {{ $startup }} s are: set it to null, or above {{ add $startup (include "gguf-server.fetch.seconds" .) }}
{{- else if le (include "gguf-server.terminationGracePeriodSeconds" . | int64) $drain -}}
terminationGracePeriodSeconds {{ .Values.terminationGracePeriodSeconds }} ends requests that drain gives {{ $drain }} s: set it to null, or above {{ $drain }}
{{- end }}
{{- end }}

{{- define "gguf-server.validations.gpu" -}}
{{- if and (include "gguf-server.gpu.isDra" .) (semverCompare "<1.34-0" .Capabilities.KubeVersion.Version) -}}
gpu.mode dra wants Kubernetes 1.34 (resource.k8s.io/v1), this is {{ .Capabilities.KubeVersion.Version }}: set gpu.mode to devicePlugin
{{- else if and (eq .Values.gpu.mode "dra") (ne .Values.gpu.resourceName "nvidia.com/gpu") -}}
gpu.resourceName {{ .Values.gpu.resourceName }} is of the device plugin: with gpu.mode dra set gpu.deviceClassName
{{- else if and (include "gguf-server.engine.isVllm" .) (eq (int .Values.gpu.count) 0) -}}
engine vllm wants a GPU: set gpu.count
{{- end }}
{{- end }}

{{- define "gguf-server.validations.network" -}}
{{- $metrics := .Values.metrics }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
httpRoute wants a Gateway: set httpRoute.parentRefs, such as [{name: NAME}]
{{- else if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
ingress wants a host: set ingress.hosts, such as [{host: llm.example.com}]
{{- else if and $metrics.serviceMonitor.enabled $metrics.podMonitor.enabled -}}
metrics.serviceMonitor and metrics.podMonitor would count everything twice: enable one
{{- end }}
{{- end }}

{{- define "gguf-server.validations.autoscaling" -}}
{{- $scaling := .Values.autoscaling }}
{{- if include "gguf-server.rollout.isScaled" . }}
{{- if lt (int $scaling.minReplicas) 1 -}}
autoscaling.minReplicas 0 would never come back: without a pod there is no queue to measure; set it to 1
{{- else if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) -}}
autoscaling.maxReplicas {{ $scaling.maxReplicas }} is below minReplicas {{ $scaling.minReplicas }}: set it higher
{{- end }}
{{- end }}
{{- end }}
