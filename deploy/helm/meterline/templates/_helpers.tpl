{{/* A StatefulSet writes its name and eleven characters into a label, which has 63. */}}
{{- define "meterline.name" -}}
{{- .Values.fullnameOverride | default (printf "%s-%s" .Release.Name .Chart.Name) | trunc 45 | trimSuffix "-" -}}
{{- end -}}

{{- define "meterline.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "meterline.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Numbers of values are floats, and large ones would be written as 1e+09. */}}
{{- define "meterline.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.uid }}
runAsGroup: {{ int64 .Values.uid }}
fsGroup: {{ int64 .Values.uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "meterline.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* It is asked from inside: on the loopback nobody needs a token for this. */}}
{{- define "meterline.probes" -}}
startupProbe: {{ include "meterline.probe" "/readyz" | nindent 2 }}
  failureThreshold: 60
readinessProbe: {{ include "meterline.probe" "/readyz" | nindent 2 }}
livenessProbe: {{ include "meterline.probe" "/livez" | nindent 2 }}
  failureThreshold: 6
{{- end -}}

{{- define "meterline.probe" -}}
exec:
  command: [python, -c, "import urllib.request as r; r.urlopen('http://127.0.0.1:8270{{ . }}', timeout=4)"]
periodSeconds: 10
timeoutSeconds: 5
{{- end -}}

{{- define "meterline.centreToml" -}}
[sidecar]
role = "centre"
http = {{ .Values.centre.http | quote }}
{{- with .Values.centre.database.url }}
database = {{ . | quote }}
database_password_file = "/run/meterline/database/password"
{{- end }}
{{- with .Values.centre.sidecar }}
{{ . | trim }}
{{- end }}

[centre]
listen = "0.0.0.0:8271"
tls_certificate = "/run/meterline/tls/tls.crt"
tls_key = "/run/meterline/tls/tls.key"
{{- with .Values.centre.centre }}
{{ . | trim }}
{{- end }}

{{ .Values.centre.config }}
{{- end -}}

{{- define "meterline.edgeToml" -}}
[sidecar]
role = "edge"
{{- with .Values.edge.allowedUids }}
allowed_uids = [{{ range $i, $uid := . }}{{ if $i }}, {{ end }}{{ int64 $uid }}{{ end }}]
{{- end }}
{{- with .Values.edge.sidecar }}
{{ . | trim }}
{{- end }}

[centre]
url = {{ .Values.edge.centreUrl | default (printf "tls://%s-centre:8271" (include "meterline.name" .)) | quote }}
token_file = "/run/meterline/token"
ca_file = "/run/meterline/ca.pem"
{{- with .Values.edge.centre }}
{{ . | trim }}
{{- end }}
{{ with .Values.edge.config }}
{{ . }}
{{- end }}
{{- end -}}
