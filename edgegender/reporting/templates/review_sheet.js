"use strict";
// Collects decisions, keeps them in this browser, and gives them out as CSV. Nothing is sent anywhere.
(() => {
  const DECISIONS = ["wrong", "right", "unclear"];
  const main = document.querySelector("main");
  const key = "edgegender-review-" + main.dataset.sheet;
  const cards = Array.from(document.querySelectorAll("[data-row]"), (element) => {
    const row = JSON.parse(element.dataset.row);
    return { element, path: row.path, label: row.label, radios: Array.from(element.querySelectorAll("input")) };
  });
  const decisions = new Map();  // by path
  let isSaved = true;
  let isKept = true;

  function show(card) {
    const decision = decisions.get(card.path);
    if (decision === undefined) {
      return;
    }
    card.element.dataset.decision = decision;
    card.radios.forEach((radio) => { radio.checked = radio.value === decision; });
  }

  function count() {
    document.getElementById("progress").textContent = decisions.size + " of " + cards.length + " decided";
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(Array.from(decisions)));
    } catch (error) {  // a private window, or a browser that gives pages from files no storage
      isKept = false;
      document.getElementById("not-kept").hidden = false;
    }
  }

  function remember() {
    const paths = new Set(cards.map((card) => card.path));
    try {
      for (const [path, decision] of JSON.parse(localStorage.getItem(key) || "[]")) {
        if (paths.has(path) && DECISIONS.includes(decision)) {
          decisions.set(path, decision);
        }
      }
    } catch (error) {  // nothing can be read back, or something else was written under this name
      decisions.clear();
    }
  }

  function decide(card, decision) {
    decisions.set(card.path, decision);
    isSaved = false;
    show(card);
    keep();
    count();
  }

  function current() {
    const focused = document.activeElement && document.activeElement.closest("[data-row]");
    const index = cards.findIndex((card) => card.element === focused);
    return index >= 0 ? index : Math.max(0, cards.findIndex((card) => !decisions.has(card.path)));
  }

  function goTo(index) {
    const card = cards[Math.min(Math.max(index, 0), cards.length - 1)];
    (card.radios.find((radio) => radio.checked) || card.radios[0]).focus({ preventScroll: true });
    card.element.scrollIntoView({ block: "nearest" });
  }

  function quote(cell) {
    return '"' + cell.replaceAll('"', '""') + '"';
  }

  function save() {
    const rows = cards.filter((card) => decisions.has(card.path));
    const lines = rows.map((card) => [card.path, card.label, decisions.get(card.path)].map(quote).join(","));
    const text = ["path,label,decision", ...lines, ""].join("\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = main.dataset.fileName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    isSaved = true;
  }

  document.addEventListener("change", (event) => {
    const card = cards.find((one) => one.radios.includes(event.target));
    if (card) {
      decide(card, event.target.value);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || cards.length === 0) {
      return;
    }
    const decision = DECISIONS[["1", "2", "3"].indexOf(event.key)];
    const pressed = event.key.toLowerCase();
    if (decision) {
      const index = current();
      decide(cards[index], decision);
      goTo(index + 1);
    } else if (pressed === "j" || pressed === "k") {
      const isInside = document.activeElement && document.activeElement.closest("[data-row]");
      goTo(isInside ? current() + (pressed === "j" ? 1 : -1) : current());
    } else {
      return;
    }
    event.preventDefault();
  });

  document.getElementById("save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => {
    if (!isKept && !isSaved) {
      event.preventDefault();
    }
  });

  remember();
  cards.forEach(show);
  count();
})();
