{{/* Who may be reached. A policy is for a whole pod, so what fetches in a pod opens that pod. */}}

{{/* The hub, and the names of it; another hub may have another port. */}}
{{- define "gguf-server.network.hub" -}}
{{- $ports := list 443 }}
{{- with .Values.fetch.endpoint }}
{{- $hub := urlParse . }}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $hub.host) }}
{{- $ports = append $ports (default (ternary 80 443 (eq $hub.scheme "http")) $port | int) | uniq }}
{{- end }}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    - {port: 5353, protocol: UDP} # OpenShift's DNS pods: a policy sees the port behind the Service
    - {port: 5353, protocol: TCP}
    {{- range $ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- define "gguf-server.network.egress" -}}
{{- $hub := list }}
{{- if eq .by (include "gguf-server.fetch.by" .root) }}{{ $hub = include "gguf-server.network.hub" .root | fromYamlArray }}{{ end }}
{{- with concat $hub .root.Values.networkPolicy.extraEgress }}{{ toYaml . }}{{ else }}[]{{ end }}
{{- end }}
