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

// Suggestions for the query, as a combobox with a list (WAI-ARIA): arrows choose, Tab and Enter take,
// Escape closes. Enter sends the form as ever while nothing is chosen.
for (const input of document.querySelectorAll("input[data-suggest]")) {
  // Long enough that a fast typist asks once per word, short enough to seem at once.
  const pauseMs = 120;
  const list = document.createElement("ul");
  list.id = "suggestions";
  list.className = "suggestions";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  list.hidden = true;
  // Behind the label: within it, the list's text would be a part of the input's name.
  input.closest("label").after(list);
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", list.id);
  let found = null;
  let chosen = -1;
  let timer = 0;
  let asking = null;

  const close = () => {
    clearTimeout(timer);
    asking?.abort();
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const choose = (at) => {
    const options = list.children;
    options[chosen]?.setAttribute("aria-selected", "false");
    chosen = (at + options.length) % options.length;
    options[chosen].setAttribute("aria-selected", "true");
    options[chosen].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[chosen].id);
  };

  // Cursors are counted in characters, as the server does, and not in the units of JavaScript.
  const characters = (text) => Array.from(text);

  const take = (at) => {
    const text = characters(input.value);
    const suggestion = found.suggestions[at];
    // A name or an opening parenthesis goes on; after the rest comes a space.
    const open = /[:(=[]$/.test(suggestion.text);
    const before = text.slice(0, found.from).join("") + suggestion.text + (open ? "" : " ");
    input.value = before + text.slice(found.to).join("");
    input.setSelectionRange(before.length, before.length);
    close();
    ask();
  };

  const show = () => {
    list.replaceChildren(
      ...found.suggestions.map((suggestion, at) => {
        const option = document.createElement("li");
        option.id = `suggestion-${at}`;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        const text = document.createElement("span");
        text.textContent = suggestion.text;
        const about = document.createElement("span");
        about.className = "quiet";
        about.textContent = suggestion.count?.toLocaleString() ?? suggestion.about;
        option.append(text, " ", about);
        // Not "click": the input would lose the focus before.
        option.addEventListener("mousedown", (event) => {
          event.preventDefault();
          take(at);
        });
        return option;
      }),
    );
    chosen = -1;
    list.hidden = found.suggestions.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    input.removeAttribute("aria-activedescendant");
  };

  const ask = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      asking?.abort();
      asking = new AbortController();
      const params = new URLSearchParams({
        q: input.value,
        cursor: characters(input.value.slice(0, input.selectionStart)).length,
        since: input.form.elements.since.value,
        until: input.form.elements.until.value,
        kind: input.dataset.suggest,
      });
      try {
        const answer = await fetch(`/api/v1/suggest?${params}`, { signal: asking.signal });
        if (!answer.ok) return close();
        found = await answer.json();
        if (document.activeElement === input) show();
      } catch {
        // Given up for a newer question, or the server is away: there are no suggestions then.
      }
    }, pauseMs);
  };

  input.addEventListener("input", ask);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" && list.hidden) {
      event.preventDefault();
      ask();
    } else if (list.hidden) {
      return;
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const up = event.key === "ArrowUp";
      choose(chosen < 0 ? (up ? -1 : 0) : chosen + (up ? -1 : 1));
    } else if (event.key === "Tab" && !event.shiftKey && (chosen >= 0 || found.from < found.to)) {
      // With nothing chosen and nothing typed it goes to the next field, as everywhere.
      event.preventDefault();
      take(Math.max(chosen, 0));
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === "Escape") {
      event.preventDefault();
      close();
    }
  });
}
