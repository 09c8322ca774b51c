"""Workflows of the predecessor, rebuilt as it wrote them, by month: sections, keys and oddities."""

from pathlib import Path

ROOT = Path(__file__).parent / "workflows"
LOADABLE = sorted(ROOT.glob("20*/*"))
REFUSED = ROOT / "refused" / "SubscriptionAdvisor"
