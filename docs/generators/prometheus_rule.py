"""The alerts of infra/observability/rules.yaml as an object for the Prometheus Operator."""

from pathlib import Path

_INFRA = Path(__file__).parents[2] / "infra"
RULES = _INFRA / "observability" / "rules.yaml"
PAGES = (
    _INFRA / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml",
    _INFRA / "helm" / "mozaiks" / "files" / "prometheusrule.yaml",
)
_HEAD = """# Generated from infra/observability/rules.yaml by `make reference`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mozaiks
spec:
"""


def text() -> str:
    lines = RULES.read_text().splitlines()
    groups = lines[lines.index("groups:") :]
    return _HEAD + "".join(f"  {line}".rstrip() + "\n" for line in groups)
