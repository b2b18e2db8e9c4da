"use strict";
// The workbench is whole without this script. With it, the page follows what is typed: it sends the form
// a moment after the last key, and takes over problems and events from the answer.
(() => {
  const form = document.getElementById("bench");
  if (!form) return;
  const at = (id) => document.getElementById(id);
  const [record, yaml, of] = [at("record"), at("yaml"), at("of")];
  let timer, running, shown = "";

  const ask = async (what) => {
    clearTimeout(timer);
    running?.abort();
    running = new AbortController();
    const {signal} = running;
    const data = new FormData(form);
    if (what) data.set("do", what);
    const sent = {yaml: yaml.value, record: record.value};
    if (!what && !sent.record.trim() && !data.get("mapping")) return;
    form.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.action, {method: "POST", body: data, signal});
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status === 503) { timer = setTimeout(ask, 700); return; } // others try records, too
      const next = (id) => fresh.getElementById(id);
      if (what === "example" && record.value === sent.record) record.value = next("record").value;
      if (next("of").value !== of.value) { // another mapping: its text, and its examples
        of.value = next("of").value;
        at("file").textContent = next("file").textContent;
        if (yaml.value === sent.yaml) yaml.value = next("yaml").value;
        at("example").innerHTML = next("example").innerHTML;
        at("examples").hidden = next("examples").hidden;
      }
      if (at("problems").innerHTML !== next("problems").innerHTML) at("problems").innerHTML = next("problems").innerHTML;
      // While the text is wrong, the last event that it gave stays.
      const wrong = next("problems").querySelector(".bad") && yaml.value.trim() && !next("result").querySelector(".event");
      at("result").classList.toggle("former", Boolean(wrong));
      if (!wrong && shown !== next("result").innerHTML) {
        const open = new Map([...at("result").querySelectorAll("details")].map((d) => [d.firstElementChild.textContent.replace(/\d+\s*$/, ""), d.open]));
        shown = next("result").innerHTML;
        at("result").innerHTML = shown;
        for (const d of at("result").querySelectorAll("details")) {
          const was = open.get(d.firstElementChild.textContent.replace(/\d+\s*$/, ""));
          if (was !== undefined) d.open = was;
        }
      }
    } catch (e) {
      if (e.name !== "AbortError") {
        const p = Object.assign(document.createElement("p"), {className: "problem bad", textContent: "The connector does not answer: " + e.message});
        at("problems").replaceChildren(p);
      }
    } finally {
      if (!signal.aborted) form.removeAttribute("aria-busy");
    }
  };
  const soon = () => { clearTimeout(timer); timer = setTimeout(ask, 350); };
  record.addEventListener("input", soon);
  yaml.addEventListener("input", soon);
  at("mapping").addEventListener("change", () => ask());
  at("example").addEventListener("change", () => { if (at("example").value) ask("example"); });
  form.addEventListener("submit", (e) => {
    const what = e.submitter?.value;
    if (what === "case") return; // a download
    e.preventDefault();
    ask(what);
  });
  form.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); ask(); }
  });
  // The place of a problem leads to it.
  at("problems").addEventListener("click", (e) => {
    const place = e.target.closest("[data-line]");
    if (!place) return;
    const lines = yaml.value.split("\n"), line = Number(place.dataset.line);
    const start = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
    const column = [...(lines[line - 1] ?? "")].slice(0, Number(place.dataset.column) - 1).join("").length;
    yaml.focus();
    yaml.setSelectionRange(start + column, start + column + 1);
    yaml.scrollTop = Math.max(0, line - 5) * parseFloat(getComputedStyle(yaml).lineHeight);
  });
})();
