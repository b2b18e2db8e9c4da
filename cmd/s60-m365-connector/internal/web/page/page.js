"use strict";
// The page is whole without this script. With it, the status page asks for
// itself again every few seconds and takes over the parts that changed, and
// searches follow what is typed.
(() => {
  const every = 5000;
  const parts = document.querySelectorAll("[data-live]");
  const stale = document.getElementById("stale");
  let last = new Date(), asked = 0, timer;

  const refresh = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(location.pathname + location.search, {cache: "no-store", signal: AbortSignal.timeout(every * 2)});
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== asked) return; // something else was searched for meanwhile
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = fresh.getElementById(part.id);
        if (!next || part.outerHTML === next.outerHTML) continue;
        // What is selected stays: it is replaced once it is not.
        const selection = getSelection();
        if (selection.type === "Range" && part.contains(selection.anchorNode)) continue;
        part.className = next.className;
        if (part.innerHTML !== next.innerHTML) {
          const box = part.querySelector(".scroll");
          const [left, focused] = [box?.scrollLeft, box && box === document.activeElement];
          part.innerHTML = next.innerHTML;
          const again = part.querySelector(".scroll");
          if (again && left) again.scrollLeft = left;
          if (again && focused) again.focus({preventScroll: true});
        }
        for (const a of ["aria-labelledby", "aria-label"]) {
          if (next.hasAttribute(a)) part.setAttribute(a, next.getAttribute(a)); else part.removeAttribute(a);
        }
      }
      last = new Date();
      if (stale) stale.hidden = true;
    } catch {
      if (!stale || mine !== asked) return;
      stale.querySelector("span").textContent = last.toISOString().slice(0, 19).replace("T", " ") + " UTC";
      stale.hidden = false;
    }
  };
  const loop = async () => {
    if (!document.hidden) await refresh();
    setTimeout(loop, every);
  };
  // A search follows what is typed.
  for (const form of document.querySelectorAll("form[role=search]")) {
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
        history.replaceState(null, "", "?" + query);
        refresh();
      }, 250);
    });
  }
  if (parts.length && stale) {
    setTimeout(loop, every);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  }
})();
