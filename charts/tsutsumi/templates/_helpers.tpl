{{/* Names are fixed: policies are cluster-scoped, so one release serves a cluster, and roles name their objects. */}}

{{- define "tsutsumi.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The image of managed resolvers. A digest decides what is pulled; the tag beside it tells which release that is. */}}
{{- define "tsutsumi.managedImage" -}}
{{- with .Values.managedResolver.image -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the pods of managed resolvers get and where they may run, as the controller reads it. */}}
{{- define "tsutsumi.managedPlacement" -}}
{{- $placement := pick .Values.managedResolver "resources" "nodeSelector" "tolerations" "priorityClassName" }}
{{- merge $placement (pick .Values "imagePullSecrets") | toJson }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "tsutsumi.labels" -}}
app.kubernetes.io/name: tsutsumi
app.kubernetes.io/part-of: tsutsumi
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What selects a part's pods; call with the part's name. Never changes: a Deployment's selector is immutable. */}}
{{- define "tsutsumi.selector" -}}
app.kubernetes.io/name: tsutsumi
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{/* Labels of a part's pods; call with (dict "root" $ "component" "…"), and with "values" .Values.part where
     it has some. What the values add never replaces ours. */}}
{{- define "tsutsumi.podLabels" -}}
{{- $own := include "tsutsumi.selector" .component | fromYaml }}
{{- $own = merge $own (dict "app.kubernetes.io/part-of" "tsutsumi" "app.kubernetes.io/version" .root.Chart.AppVersion) }}
{{- $further := (.values | default dict).podLabels | default dict }}
{{- range $key, $_ := $further }}
{{- if or (hasKey $own $key) (hasPrefix "tsutsumi.dev/" $key) }}
{{- fail (printf "%s.podLabels: %s is the chart's own; leave it out" $.component $key) }}
{{- end }}
{{- end }}
{{- merge $own $further | toYaml }}
{{- end -}}

{{- define "tsutsumi.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tsutsumi.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "tsutsumi.adminProbes" -}}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 2
{{- end -}}

{{/* Where a part's pods may run; call with (dict "values" .Values.part "component" "…"). */}}
{{- define "tsutsumi.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.affinity }}
affinity:
  {{- toYaml .values.affinity | nindent 2 }}
{{- else if gt (int .values.replicas) 1 }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "tsutsumi.selector" .component | nindent 14 }}
{{- end }}
{{- if gt (int .values.replicas) 1 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tsutsumi.selector" .component | nindent 8 }}
{{- end }}
{{- end -}}

{{/* An address and port, the address in brackets when it is IPv6; call with a vantage. */}}
{{- define "tsutsumi.socket" -}}
{{- if contains ":" .address -}}
[{{ .address }}]:{{ .port }}
{{- else -}}
{{ .address }}:{{ .port }}
{{- end -}}
{{- end -}}

{{/* One address as a network; call with the address. */}}
{{- define "tsutsumi.host" -}}
{{ . }}{{ if contains ":" . }}/128{{ else }}/32{{ end }}
{{- end -}}

{{/* The address that pods listen on, in brackets when it is IPv6. */}}
{{- define "tsutsumi.listen" -}}
{{- if contains ":" .Values.listenAddress }}[{{ .Values.listenAddress }}]{{ else }}{{ .Values.listenAddress }}{{ end -}}
{{- end -}}

{{/* The ConfigMap of ours beside a Corefile, as a list in JSON; call with (dict "root" $ "target" .). */}}
{{- define "tsutsumi.authority" -}}
{{- if and .root.Values.managedResolver.enabled .target.configMaps }}["tsutsumi-resolver-ca"]{{ else }}[]{{ end -}}
{{- end -}}

{{/* Every ConfigMap that may be read, as namespace/name. */}}
{{- define "tsutsumi.configMaps" -}}
{{- $names := list }}
{{- range $target := .Values.targets }}
{{- $authority := include "tsutsumi.authority" (dict "root" $ "target" .) | fromJsonArray }}
{{- range concat .configMaps .customConfigMaps .readConfigMaps $authority }}
{{- $names = append $names (printf "%s/%s" $target.namespace .) }}
{{- end }}
{{- end }}
{{- if not $names }}
{{- fail "targets: no ConfigMap is named, so nothing could be read; name at least the Corefile in configMaps" }}
{{- end }}
{{- $names | uniq | sortAlpha | join "," }}
{{- end -}}
