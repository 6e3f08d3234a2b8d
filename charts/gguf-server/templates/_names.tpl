{{/* What things are called. */}}

{{- define "gguf-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gguf-server.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* A name with an end of its own: (list $ "gpu"). What is cut off is never the end. */}}
{{- define "gguf-server.name.of" -}}
{{- $end := index . 1 }}
{{- $most := sub 62 (len $end) | int }}
{{- printf "%s-%s" (include "gguf-server.fullname" (index . 0) | trunc $most | trimSuffix "-") $end }}
{{- end }}

{{- define "gguf-server.labels" -}}
{{ include "gguf-server.labels.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "gguf-server.labels.instance" -}}
app.kubernetes.io/name: {{ include "gguf-server.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Those of pods that serve; the Job's and the test's are of another component. */}}
{{- define "gguf-server.labels.selector" -}}
{{ include "gguf-server.labels.instance" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "gguf-server.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "gguf-server.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}
