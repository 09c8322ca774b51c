{{/* What belongs to the product. */}}
{{- define "mozaiks.labels" -}}
app.kubernetes.io/part-of: mozaiks
{{- end -}}

{{- define "mozaiks.image" -}}
{{ .root.Values.image.registry }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* The settings that all services and the Job have, by variable. */}}
{{- define "mozaiks.config" -}}
{{- $config := dict
  "HOST" "0.0.0.0"
  "NATS_URL" .Values.nats.url
  "NATS_NKEY_SEED_FILE" "/run/secrets/nats/seed"
  "NATS_CA_FILE" (ternary "/run/secrets/nats/ca.crt" "" .Values.nats.ca)
  "STREAM_REPLICAS" (toString .Values.streams.replicas)
  "EVENT_STREAMS" (toString .Values.streams.events)
  "ENSURE_STREAMS" "false"
  "LOGS_AS_JSON" "true"
-}}
{{- if .Values.host }}{{ $_ := set $config "ALLOWED_HOSTS" .Values.host }}{{ end -}}
{{- if .Values.authentication.allowInsecure }}{{ $_ := set $config "AUTH_ALLOW_INSECURE" "true" }}{{ end -}}
{{- toYaml (mergeOverwrite $config .Values.config) -}}
{{- end -}}

{{/* The part of a pod's specification that all pods have. */}}
{{- define "mozaiks.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mozaiks.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The NATS user of one service, and the authority of NATS's certificates. */}}
{{- define "mozaiks.natsVolume" -}}
- name: nats
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: nats-{{ . }}}
      - secret: {name: nats-ca, optional: true}
{{- end -}}

{{/* Three quarters of the room of a pod: another one is ready before the others are full. */}}
{{- define "mozaiks.threshold" -}}
{{ div (mul 3 (int .)) 4 | toString | quote }}
{{- end -}}

{{- define "mozaiks.scaleDown" -}}
scaleDown:
  stabilizationWindowSeconds: 600
  policies:
    - {type: Percent, value: 20, periodSeconds: 60}
{{- end -}}
