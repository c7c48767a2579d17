// Returns each visible text with its contrast to the background at its center
// (WCAG 2.2, relative luminance and contrast ratio).
() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const painted = (element) => {
    const style = getComputedStyle(element);
    const color = element instanceof SVGGeometryElement ? style.fill : style.backgroundColor;
    return color === "none" ? null : parse(color);
  };
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest("title, desc, style")) continue;
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getClientRects()[0];
    if (!box) continue;
    const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    const below = stack.filter((one) => !(one instanceof SVGTextContentElement))
      .map(painted).find((color) => color && color.a === 1);
    const style = getComputedStyle(element);
    const ink = parse(element instanceof SVGElement ? style.fill : style.color);
    const [dark, light] = [luminance(ink), luminance(below)].sort((a, b) => a - b);
    const contrast = Math.round(((light + 0.05) / (dark + 0.05)) * 100) / 100;
    found.push({ text: node.textContent.trim(), contrast });
  }
  return found;
}
