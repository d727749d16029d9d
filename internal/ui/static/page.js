// What the page does beyond HTML: it asks again for itself when the fleet changes, and it has keys. Without it the page can be
// read and its forms work.
"use strict";
(() => {
  const main = () => document.getElementById("main");
  const editing = () => {
    const e = document.activeElement;
    return e && /^(INPUT|TEXTAREA|SELECT)$/.test(e.tagName) && main().contains(e);
  };

  // Live: one event a second at most says that something has changed; the page then fetches its main part.
  let waiting = false;
  let source; // of the events
  const name = (details) => (details.querySelector(".object-name") ?? details.querySelector("summary"))?.textContent;
  const refresh = () => {
    if (!main().dataset.live) return; // making this page is work: it is made when a person asks
    if (document.hidden || editing() || document.querySelector("dialog[open]")) { waiting = true; return; }
    waiting = false;
    fetch(main().dataset.live, { headers: { "HX-Request": "true" } }).then((answer) => {
      if (answer.redirected) { location.assign(answer.url); return ""; } // the login has ended: it leads to the next one
      if (!answer.ok) throw new Error(answer.status);
      return answer.text();
    }).then((text) => {
      live(source?.readyState === EventSource.OPEN);
      const next = new DOMParser().parseFromString(text, "text/html").getElementById("main");
      if (!next || editing() || next.dataset.live !== main().dataset.live || next.isEqualNode(main())) return;
      // What the person has opened and where they are, as it is now and not as it was when the page was asked for.
      const at = window.scrollY;
      const open = [...document.querySelectorAll("main details[open]")].map(name);
      const row = document.activeElement?.closest?.("main [data-row]")?.getAttribute("href");
      for (const d of next.querySelectorAll("details")) d.open = open.includes(name(d));
      main().replaceWith(next);
      window.htmx?.process(next);
      if (row) next.querySelector(`[data-row][href="${CSS.escape(row)}"]`)?.focus({ preventScroll: true });
      window.scrollTo(0, at);
    }).catch(() => live(false));
  };
  const live = (on) => document.getElementById("live")?.classList.toggle("on", on);
  const watch = () => {
    source = new EventSource("/api/v1/watch");
    source.addEventListener("hello", () => { live(true); refresh(); });
    source.addEventListener("changed", refresh);
    source.onerror = () => {
      live(false);
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      refresh(); // says it when the login has ended
      setTimeout(watch, 5000);
    };
  };
  if ("watch" in document.body.dataset) watch(); // somebody has logged in
  document.addEventListener("visibilitychange", () => waiting && refresh());
  document.addEventListener("focusout", () => setTimeout(() => waiting && refresh(), 200));

  // What has no main part, such as the answer of a proxy in front, and what has no answer is opened as the browser opens it.
  const whole = (e) => location.assign(e.detail.pathInfo.finalRequestPath);
  document.addEventListener("htmx:sendError", whole);
  document.addEventListener("htmx:beforeSwap", (e) => {
    if (e.detail.serverResponse.includes('<main id="main"')) return;
    e.preventDefault();
    whole(e);
  });

  // The menu follows when htmx has put another page in place.
  document.addEventListener("htmx:pushedIntoHistory", () => {
    const path = location.pathname;
    for (const a of document.querySelectorAll(".top nav a")) {
      const here = a.getAttribute("href");
      const current = here === "/" ? path === "/" || path.startsWith("/clusters/") : path === here || path.startsWith(here + "/");
      current ? a.setAttribute("aria-current", "page") : a.removeAttribute("aria-current");
    }
    main().focus({ preventScroll: true });
  });

  // Of a log the newest lines are seen first.
  const toTheEnd = () => { for (const log of document.querySelectorAll("pre.log")) log.scrollTop = log.scrollHeight; };
  document.addEventListener("htmx:afterSettle", toTheEnd);
  toTheEnd();

  // A form that acts asks first.
  document.addEventListener("submit", (e) => {
    const question = e.target.dataset?.confirm;
    if (question && !window.confirm(question)) e.preventDefault();
  });

  // Keys.
  let go = false;
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName)) {
      if (e.key === "Escape") e.target.blur();
      return;
    }
    if (go) {
      go = false;
      const link = document.querySelector(`.top nav a[data-key="${CSS.escape(e.key)}"]`);
      if (link) { e.preventDefault(); link.click(); }
      return;
    }
    const rows = [...document.querySelectorAll("main [data-row]")];
    const here = rows.indexOf(document.activeElement);
    switch (e.key) {
      case "?": document.getElementById("help").showModal(); break;
      case "/": {
        const search = document.querySelector("[data-search]");
        if (!search) return;
        search.focus(); search.select(); break;
      }
      case "j": rows[Math.min(here + 1, rows.length - 1)]?.focus(); break;
      case "k": rows[Math.max(here - 1, 0)]?.focus(); break;
      case "g": go = true; setTimeout(() => { go = false; }, 1500); break;
      default: return;
    }
    e.preventDefault();
  });
})();
