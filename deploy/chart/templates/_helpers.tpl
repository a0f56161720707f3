{{/* The operator's configuration; one namespace is told by the value `namespaced`. */}}
{{- define "modelrelease.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.namespaced -}}
{{- $_ := set $config "watchNamespace" "$(POD_NAMESPACE)" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- define "modelrelease.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}
