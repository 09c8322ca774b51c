"""The theme of ChatUI where an app has none of its own: system fonts and the product's colours."""

from services.transport.http.models.workflows import (
    BackgroundColours,
    BorderColours,
    Branding,
    Colour,
    Colours,
    Font,
    Fonts,
    Shadows,
    TextColours,
    Theme,
)

_SANS = "ui-sans-serif, system-ui, sans-serif"


def _font(tailwind_class: str) -> Font:
    return Font(family="system-ui", fallbacks=_SANS, tailwindClass=tailwind_class)


def _colour(name: str, main: str, light: str, dark: str) -> Colour:
    return Colour(name=name, main=main, light=light, dark=dark)


DEFAULT = Theme(
    branding=Branding(name="Mozaiks"),
    fonts=Fonts(body=_font("font-sans"), heading=_font("font-heading"), logo=_font("font-logo")),
    colors=Colours(
        primary=_colour("blue", "#3867d6", "#8aa8ef", "#24489e"),
        secondary=_colour("teal", "#1f8a8a", "#7cc7c7", "#125656"),
        accent=_colour("ochre", "#c98a1b", "#e8bf72", "#8a5c0c"),
        success=_colour("green", "#2e9e5b", "#86d3a5", "#1b6a3b"),
        warning=_colour("ochre", "#c98a1b", "#e8bf72", "#8a5c0c"),
        error=_colour("red", "#cf3f3f", "#ee9a9a", "#8e2323"),
        background=BackgroundColours(
            base="#101318",
            surface="#171b22",
            elevated="#1f252e",
            overlay="rgba(16, 19, 24, 0.7)",
        ),
        border=BorderColours(subtle="#2a313c", strong="#414b5a", accent="#3867d6"),
        text=TextColours(
            primary="#eceff4", secondary="#aab4c3", muted="#7a8596", onAccent="#ffffff"
        ),
    ),
    shadows=Shadows(elevated="0 16px 40px rgba(0, 0, 0, 0.5)"),
)
