{{/* Which nodes can carry it: by the bytes that the model needs of each GPU. */}}

{{- define "gguf-server.gpu.mebibytes" -}}
{{- divf (float64 .Values.gpu.memoryBytes) 1048576 | ceil | int64 }}
{{- end }}

{{- define "gguf-server.gpu.isDra" -}}
{{- if and (gt (int .Values.gpu.count) 0) (eq .Values.gpu.mode "dra") }}true{{ end }}
{{- end }}

{{- define "gguf-server.gpu.isDevicePlugin" -}}
{{- if and (gt (int .Values.gpu.count) 0) (eq .Values.gpu.mode "devicePlugin") }}true{{ end }}
{{- end }}

{{/* Only of NVIDIA's we know what their memory is called; a DRA claim says it itself. */}}
{{- define "gguf-server.gpu.choosesNodes" -}}
{{- if and (include "gguf-server.gpu.isDevicePlugin" .) .Values.gpu.chooseNodes (gt (int64 .Values.gpu.memoryBytes) 0) (hasPrefix "nvidia.com/" .Values.gpu.resourceName) }}true{{ end }}
{{- end }}

{{/* A MIG partition has a memory label of its own. */}}
{{- define "gguf-server.gpu.isPartition" -}}
{{- if hasPrefix "nvidia.com/mig-" .Values.gpu.resourceName }}true{{ end }}
{{- end }}

{{/* Who asks for nvidia.com/gpu.shared wants no other. */}}
{{- define "gguf-server.gpu.mayBeShared" -}}
{{- if or .Values.gpu.allowShared (hasSuffix ".shared" .Values.gpu.resourceName) }}true{{ end }}
{{- end }}

{{/* Labels with the MiB of one GPU (or partition): NVIDIA's feature discovery, Karpenter, EKS. */}}
{{- define "gguf-server.gpu.memoryLabels" -}}
{{- if not (include "gguf-server.gpu.isPartition" .) }}
- nvidia.com/gpu.memory
- karpenter.k8s.aws/instance-gpu-memory
- eks.amazonaws.com/instance-gpu-memory
{{- else }}
- {{ .Values.gpu.resourceName }}.memory
{{- end }}
{{- end }}

{{/* Terms are alternatives: a node that is yet to be started has only its provider's labels. */}}
{{- define "gguf-server.gpu.requiredTerms" -}}
{{- $above := sub (include "gguf-server.gpu.mebibytes" . | int64) 1 | toString | quote }}
{{- if include "gguf-server.gpu.isPartition" . }}
- matchExpressions:
    - {key: {{ $.Values.gpu.resourceName }}.memory, operator: Gt, values: [{{ $above }}]}
{{- else }}
- matchExpressions:
    - {key: nvidia.com/gpu.memory, operator: Gt, values: [{{ $above }}]}
    {{- if not (include "gguf-server.gpu.mayBeShared" $) }}
    - {key: nvidia.com/gpu.sharing-strategy, operator: NotIn, values: [time-slicing, mps]}
    {{- end }}
{{- range $prefix := list "karpenter.k8s.aws" "eks.amazonaws.com" }}
- matchExpressions: # the name, too: EC2 tells more memory of some than the driver does
    - {key: {{ $prefix }}/instance-gpu-memory, operator: Gt, values: [{{ $above }}]}
    {{- with $.Values.gpu.nodeLabels.aws }}
    - {key: {{ $prefix }}/instance-gpu-name, operator: In, values: {{ toJson . }}}
    {{- end }}
{{- end }}
{{- with $.Values.gpu.nodeLabels.gke }}
- matchExpressions:
    - {key: cloud.google.com/gke-accelerator, operator: In, values: {{ toJson . }}}
    - {key: cloud.google.com/gke-gpu-partition-size, operator: DoesNotExist}
    {{- if not (include "gguf-server.gpu.mayBeShared" $) }}
    - {key: cloud.google.com/gke-max-shared-clients-per-gpu, operator: DoesNotExist}
    {{- end }}
{{- end }}
{{- with $.Values.gpu.nodeLabels.aks }}
- matchExpressions:
    - {key: karpenter.azure.com/sku-gpu-name, operator: In, values: {{ toJson . }}}
{{- end }}
{{- end }}
{{- end }}

{{/* The smaller, the more of these hold; the first of a list is the smallest. */}}
{{- define "gguf-server.gpu.preferredTerms" -}}
{{- $needed := include "gguf-server.gpu.mebibytes" . | float64 }}
{{- range $label := include "gguf-server.gpu.memoryLabels" . | fromYamlArray }}
{{- range list 1.25 1.6 2 2.8 4 5.6 8 11 15 21 30 42 60 }}
- weight: 8
  preference:
    matchExpressions:
      - {key: {{ $label }}, operator: Lt, values: [{{ mulf $needed . | ceil | int64 | toString | quote }}]}
{{- end }}
{{- end }}
{{- if not (include "gguf-server.gpu.isPartition" .) }}
{{- range $label, $names := dict "cloud.google.com/gke-accelerator" .Values.gpu.nodeLabels.gke "karpenter.azure.com/sku-gpu-name" .Values.gpu.nodeLabels.aks }}
{{- if gt (len $names) 1 }}
- weight: 100
  preference:
    matchExpressions:
      - {key: {{ $label }}, operator: In, values: [{{ first $names | quote }}]}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The vendor's taint, also where a partition is asked for: nvidia.com/gpu. */}}
{{- define "gguf-server.gpu.toleration" -}}
{{- if and (gt (int .Values.gpu.count) 0) .Values.gpu.tolerateTaint }}
- key: {{ dir .Values.gpu.resourceName }}/gpu
  operator: Exists
{{- end }}
{{- end }}

{{/* Its specification cannot change, and an older pod's template names the older one. */}}
{{- define "gguf-server.gpu.claimTemplateName" -}}
{{- include "gguf-server.name.of" (list . (printf "gpu-%s" (include "gguf-server.gpu.claimSpec" . | sha256sum | trunc 8))) }}
{{- end }}

{{- define "gguf-server.gpu.claimSpec" -}}
devices:
  requests:
    - name: gpu
      exactly:
        deviceClassName: {{ .Values.gpu.deviceClassName }}
        allocationMode: ExactCount
        count: {{ .Values.gpu.count }}
        {{- if gt (int64 .Values.gpu.memoryBytes) 0 }}
        selectors:
          - cel:
              expression: {{ printf "device.capacity[%q].memory.compareTo(quantity(\"%sMi\")) >= 0" .Values.gpu.driverName (include "gguf-server.gpu.mebibytes" .) | squote }}
        {{- end }}
{{- end }}
