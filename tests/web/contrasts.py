"""How well the text of a page stands out, asked in a browser."""

__all__ = ["CONTRASTS"]

#: A script: for each element with text of its own, its text and the contrast (WCAG 2.2) to what is painted
#: behind it. Disabled controls are exempt. Plots, whose letters have a fill and no colour, are left out.
CONTRASTS = """
    const parts = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const luminance = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
      .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (element) => {
      const colour = getComputedStyle(element).backgroundColor;
      return parts(colour)[3] === 0 ? behind(element.parentElement) : colour;
    };
    const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
    const hasText = (element) => [...element.childNodes].some(isText);
    return [...document.querySelectorAll('body :not(svg, svg *)')]
      .filter((element) => hasText(element) && element.checkVisibility() && !element.closest(':disabled'))
      .map((element) => {
        const [dark, light] = [getComputedStyle(element).color, behind(element)]
          .map(luminance).sort((one, other) => one - other);
        return [element.textContent.slice(0, 40), (light + 0.05) / (dark + 0.05)];
      });
"""
