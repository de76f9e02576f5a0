{{- define "meterline.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "meterline.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "meterline.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "meterline.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.uid }}
runAsGroup: {{ .Values.uid }}
fsGroup: {{ .Values.uid }}
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

{{- define "meterline.edgeToml" -}}
[sidecar]
role = "edge"
{{- with .Values.edge.allowedUids }}
allowed_uids = [{{ join ", " . }}]
{{- end }}

[centre]
url = {{ .Values.edge.centreUrl | default (printf "tls://%s-centre:8271" (include "meterline.name" .)) | quote }}
token_file = "/run/meterline/token"
ca_file = "/run/meterline/ca.pem"
{{ with .Values.edge.config }}
{{ . }}
{{- end }}
{{- end -}}
