// Small conveniences; every page works without this file.
// "/" puts the cursor into the query, as analysts expect from other consoles.
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing) {
    const input = document.querySelector("input[name=q]");
    if (input) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  }
});
