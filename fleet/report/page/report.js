"use strict";
(() => {
  const PAGE = 500;
  const ORDER = ["failed", "timed_out", "cancelled", "unknown", "unverified", "unreachable", "not_started", "skipped", "succeeded"];
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const columns = heads.map((head) => head.dataset.key);
  const data = document.getElementById("data");
  const records = data ? fromData(JSON.parse(data.textContent)) : fromRows([...body.rows]);
  const tools = document.getElementById("tools");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const more = document.getElementById("more");
  let sorted = { key: "", down: false };
  let limit = PAGE;

  function duration(seconds) {
    if (seconds < 9.95) return seconds.toFixed(1) + "s";
    const whole = Math.round(seconds);
    const two = (value) => String(value).padStart(2, "0");
    if (whole < 60) return whole + "s";
    if (whole < 3600) return Math.floor(whole / 60) + "m " + two(whole % 60) + "s";
    return Math.floor(whole / 3600) + "h " + two(Math.floor((whole % 3600) / 60)) + "m";
  }

  function fromRows(rows) {
    return rows.map((row, place) => {
      const value = {};
      columns.forEach((key, index) => { value[key] = row.cells[index].textContent; });
      value.status = row.dataset.status;
      for (const key of ["started", "duration"]) value[key] = row.dataset[key] === "" ? null : Number(row.dataset[key]);
      for (const key of ["wave", "exit"]) value[key] = value[key] === "" ? null : Number(value[key]);
      return { value, place, text: words(value), row: () => row };
    });
  }

  function fromData({ columns: names, coded, texts, rows }) {
    const isCoded = names.map((name) => coded.includes(name));
    return rows.map((cells, place) => {
      const value = {};
      names.forEach((name, index) => { value[name] = isCoded[index] ? texts[cells[index]] : cells[index]; });
      let made = null;
      return { value, place, text: words(value), row: () => (made ??= draw(value)) };
    });
  }

  function words(value) {
    return [value.target, value.scope, value.kind, value.location, value.step, value.status, value.cause].join(" ").toLowerCase();
  }

  function draw(value) {
    const row = document.createElement("tr");
    for (const key of columns) row.append(cell(key, value));
    return row;
  }

  function cell(key, value) {
    const made = document.createElement(key === "target" ? "th" : "td");
    if (key === "target") {
      made.scope = "row";
      made.append(value.anchor ? link(value.anchor, value.target) : value.target);
    } else if (key === "status") {
      const template = document.querySelector(".pick input[value=" + value.status + "]");
      const chip = document.createElement("span");
      chip.className = "chip " + value.status;
      chip.append(template.parentNode.querySelector(".swatch").cloneNode(true), value.status.replace("_", " "));
      made.append(chip);
    } else if (value[key] !== null) {
      made.textContent = key === "duration" ? duration(value[key]) : key === "started" ? "+" + duration(value[key]) : value[key];
    }
    if (["wave", "exit", "started", "duration"].includes(key)) made.className = "num";
    return made;
  }

  function link(anchor, text) {
    const made = document.createElement("a");
    made.href = "#" + anchor;
    made.textContent = text;
    return made;
  }

  function compare(left, right) {
    const a = left.value[sorted.key], b = right.value[sorted.key];
    if (a === null || b === null || a === "" || b === "") {
      const empty = (item) => (item === null || item === "" ? 1 : 0);
      if (empty(a) !== empty(b)) return empty(a) - empty(b);
    }
    let order = 0;
    if (sorted.key === "status") order = ORDER.indexOf(a) - ORDER.indexOf(b);
    else if (typeof a === "number" && typeof b === "number") order = a - b;
    else if (a !== b && a !== null) order = collator.compare(a, b);
    return (sorted.down ? -order : order) || left.place - right.place;
  }

  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function refresh() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const statuses = new Set([...tools.querySelectorAll("input[name=status]:checked")].map((box) => box.value));
    const found = records.filter(({ value, text }) => statuses.has(value.status) && wanted.every((word) => text.includes(word)));
    if (sorted.key) found.sort(compare);
    body.replaceChildren(...found.slice(0, limit).map((record) => record.row()));
    more.hidden = found.length <= limit;
    const count = (amount) => amount.toLocaleString("en");
    shown.textContent = found.length === records.length ? count(records.length) + " jobs" : count(found.length) + " of " + count(records.length) + " jobs";
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      sorted = { key: head.dataset.key, down: sorted.key === head.dataset.key && !sorted.down };
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      refresh();
    });
    head.replaceChildren(button);
  }

  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  }

  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", () => { limit = PAGE; refresh(); });
  more.firstElementChild.addEventListener("click", () => { limit += PAGE; refresh(); });
  window.addEventListener("hashchange", openTarget);
  window.addEventListener("beforeprint", () => {
    for (const group of document.querySelectorAll("details")) group.open = true;
    limit = Infinity;
    refresh();
  });
  tools.hidden = false;
  openTarget();
  refresh();
})();
