{{- define "rebootml.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "rebootml.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rebootml.labels" -}}
{{ include "rebootml.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "rebootml.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* Of a pod: no root, no rights, no way to the cluster's API. */}}
{{- define "rebootml.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "rebootml.container" -}}
image: {{ include "rebootml.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "rebootml.mounts" -}}
volumeMounts:
  - {name: secrets, mountPath: /run/rebootml, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* dict "secrets" (dict FILE ref): one folder whose files change with their Secrets, so no subPath. */}}
{{- define "rebootml.volumes" -}}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 256Mi}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range $file, $ref := .secrets }}
        - secret:
            name: {{ required (printf "a secret for %s needs a name" $file) $ref.name | quote }}
            items: [{key: {{ $ref.key | quote }}, path: {{ $file | quote }}}]
        {{- end }}
{{- end }}

{{/* list of maps, the later ones win: env entries in order of their names. Numbers as JSON: a million is not 1e+06. */}}
{{- define "rebootml.env" -}}
{{- range $name, $value := (mergeOverwrite (dict) (index . 0) (index . 1) (index . 2)) }}
- {name: {{ $name }}, value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}}
{{- end }}
{{- end }}

{{- define "rebootml.waitForMigrations" -}}
initContainers:
  - name: wait-for-migrations
    {{- include "rebootml.container" . | nindent 4 }}
    command: [rebootml, migrate, --wait, {{ .Values.migrate.waitSeconds | quote }}]
    env:
      - {name: DATABASE_URL_FILE, value: /run/rebootml/DATABASE_URL}
      - {name: REDIS_URL_FILE, value: /run/rebootml/REDIS_URL}
    resources: {{ toJson .Values.migrate.resources }}
    {{- include "rebootml.mounts" . | nindent 4 }}
{{- end }}

{{- define "rebootml.probes" -}}
startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, timeoutSeconds: 3, failureThreshold: 60}
livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
{{- end }}

{{- define "rebootml.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: {{ toJson $.matchLabels }}}
  {{- end }}
{{- end }}
