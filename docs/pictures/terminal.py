"""Text of a terminal with its colours, as a page."""

import html
import re

# The sixteen colours, then text and background.
PALETTES = {
    "dark": (
        "#3b4252 #f07178 #98c379 #e5c07b #61afef #c792ea #56b6c2 #abb2bf "
        "#6b7280 #ff8b92 #b5e08c #ffd580 #82c4ff #ddb3ff #7fdbe6 #ffffff #d5d9e0 #16191f"
    ).split(),
    "light": (
        "#24292f #b4232c #1a7f37 #8a5a00 #0b5cad #7b3fb0 #0b6e75 #6e7781 "
        "#8c959f #cf222e #2da44e #9a6700 #218bff #8250df #1b7c83 #4b535d #24292f #fbfcfd"
    ).split(),
}
SGR = re.compile(r"\x1b\[([\d;:]*)m")
OTHER_SEQUENCES = re.compile(r"\x1b(?:\[[\d;?]*[A-Za-ln-z]|[()][A-Z0-9]|[=>])|[\x0e\x0f]")


class Style:
    """What the sequences so far say of the next characters."""

    def __init__(self, palette: list[str]):
        self.palette = palette
        self.reset()

    def reset(self) -> None:
        self.text = self.behind = None
        self.flags = set()

    def apply(self, parameters: str) -> None:
        numbers = [int(number or 0) for number in re.split("[;:]", parameters)]
        while numbers:
            number = numbers.pop(0)
            if number == 0:
                self.reset()
            elif number in (1, 2, 3, 4, 7, 9):
                self.flags.add(number)
            elif number in (22, 23, 24, 27, 29):
                self.flags -= {1, 2} if number == 22 else {number - 20}
            elif number in (38, 48):
                self.put(number == 38, self.extended(numbers))
            elif number in (39, 49):
                self.put(number == 39, None)
            else:
                for first, bright in ((30, 0), (40, 0), (90, 8), (100, 8)):
                    if first <= number < first + 8:
                        self.put(first in (30, 90), self.palette[number - first + bright])

    def put(self, is_text: bool, colour: str | None) -> None:
        if is_text:
            self.text = colour
        else:
            self.behind = colour

    def extended(self, numbers: list[int]) -> str:
        if numbers.pop(0) == 2:
            red, green, blue = (numbers.pop(0) for _ in range(3))
            return f"#{red:02x}{green:02x}{blue:02x}"
        number = numbers.pop(0)
        if number < 16:
            return self.palette[number]
        if number >= 232:
            return "#" + 3 * f"{8 + 10 * (number - 232):02x}"
        levels = [0, 95, 135, 175, 215, 255]
        cube = number - 16
        return "#" + "".join(f"{levels[cube // step % 6]:02x}" for step in (36, 6, 1))

    def css(self) -> str:
        text, behind = self.text or self.palette[16], self.behind
        if 7 in self.flags:
            text, behind = behind or self.palette[17], text
        rules = [f"color:{text}"]
        rules += [f"background:{behind}"] if behind else []
        rules += [rule for flag, rule in ((1, "font-weight:bold"), (2, "opacity:.65"), (3, "font-style:italic"), (4, "text-decoration:underline")) if flag in self.flags]
        return ";".join(rules)


def page(captured: str, scheme: str) -> str:
    """The page of what `tmux capture-pane -e` printed."""
    palette = PALETTES[scheme]
    style, lines = Style(palette), []
    for line in captured.rstrip("\n").split("\n"):
        parts, at = [], 0
        line = OTHER_SEQUENCES.sub("", line)
        for match in [*SGR.finditer(line), None]:
            text = line[at : match.start() if match else len(line)]
            if text:
                parts.append(f'<span style="{style.css()}">{html.escape(text)}</span>')
            if match:
                style.apply(match[1])
                at = match.end()
        lines.append(f"<div>{''.join(parts) or '&nbsp;'}</div>")
    # Cells of 8 by 18 pixels: at whole pixels bars have no seams.
    css = (
        f"body{{margin:0;padding:16px 18px;background:{palette[17]};display:inline-block}}"
        "div{font:13.288px/18px 'DejaVu Sans Mono',monospace;white-space:pre;height:18px}span{display:inline-block;height:18px;vertical-align:top}"
    )
    return f'<!doctype html><meta charset="utf-8"><style>{css}</style>{"".join(lines)}'
