"use strict";
// Interactive parts of the page: sorting and download of tables, values of regions, selection of a person.
// Text is always set as text and never parsed as HTML.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const by = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  function make(name, attributes = {}, text = "") {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    return node;
  }

  function draw(parent, name, attributes, text = "") {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    parent.append(node);
    return node;
  }

  // ------------------------------------------------------------------------------------------------ numbers as text

  const minus = (text) => text.replace("-", "\u2212");
  const nothing = (value) => value === null || value === undefined || Number.isNaN(value);

  // Three or four significant digits in any unit.
  function figures(value) {
    if (nothing(value)) return "\u2013";
    const size = Math.abs(value);
    const decimals = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
    return minus(value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
  }

  const score = (value) => (nothing(value) ? "\u2013" : minus(value.toFixed(2)));
  const chance = (value) => (nothing(value) ? "\u2013" : value < 0.001 ? "<0.001" : value.toFixed(3));
  const plain = (text) => text.replaceAll("\u2212", "-").replaceAll("\u00a0", " ").trim();

  // The number at the start of a cell; NaN for words. "<0.001" sorts before 0.001.
  function leading(text) {
    const match = /^(<?)\s*(-?[\d,]*\.?\d+(?:e-?\d+)?)(?![\w.]*[A-Za-z_])/.exec(plain(text));
    return match ? Number(match[2].replaceAll(",", "")) - (match[1] ? 1e-9 : 0) : NaN;
  }

  // ------------------------------------------------------------------------------------------------ tables

  const EMPTY = ["", "\u2013"];
  const column = (table, i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent.trim());
  const numeric = (texts) => texts.every((text) => EMPTY.includes(text) || !Number.isNaN(leading(text)));

  function sort(table, heading) {
    const i = heading.cellIndex;
    const numbers = numeric(column(table, i));
    const before = heading.getAttribute("aria-sort");
    const order = before ? (before === "ascending" ? "descending" : "ascending") : numbers ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [row.cells[i].textContent.trim(), row]);
    rows.sort(([a], [b]) => {
      if (EMPTY.includes(a) || EMPTY.includes(b)) return EMPTY.includes(a) - EMPTY.includes(b);
      return sign * (numbers ? leading(a) - leading(b) : a.localeCompare(b, "en", { numeric: true }));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
  }

  // "1.43 [1.38, 1.48]" becomes three columns; text that a spreadsheet would read as a formula is quoted.
  const INTERVAL = /^(\S+(?: %)?) \[(\S+), (\S+)\]$/;

  function csv(table) {
    const columns = [...table.tHead.rows[0].cells].flatMap((heading, i) => {
      const name = plain(heading.textContent);
      const texts = column(table, i).map(plain);
      const parts = texts.map((text) => INTERVAL.exec(text));
      if (!parts.some(Boolean)) return [[name, ...texts]];
      const part = (k) => parts.map((match, row) => (match ? match[k] : k === 1 ? texts[row] : ""));
      return [[name, ...part(1)], [`${name}, low`, ...part(2)], [`${name}, high`, ...part(3)]];
    });
    const field = (text) => {
      const value = Number.isNaN(leading(text)) ? text : text.replace(/(\d),(?=\d{3})/g, "$1").replace("\u2013", "");
      const safe = /^[=+@\t]|^-(?!\d)/.test(value) ? `'${value}` : value;
      return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return columns[0].map((_, row) => columns.map((cells) => field(cells[row])).join(",")).join("\r\n") + "\r\n";
  }

  function download(table) {
    const name = table.caption.textContent.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60).replace(/^-|-$/g, "");
    const address = URL.createObjectURL(new Blob(["\ufeff", csv(table)], { type: "text/csv" }));
    make("a", { href: address, download: `${name || "table"}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  for (const table of all("main table")) {
    for (const heading of table.tHead.rows[0].cells) {
      const button = make("button", { type: "button", class: "sort" }, heading.textContent);
      button.addEventListener("click", () => sort(table, heading));
      heading.replaceChildren(button);
    }
    const name = table.caption.textContent;
    const button = make("button", { type: "button", class: "csv", "aria-label": `Download as CSV: ${name}` }, "CSV");
    button.addEventListener("click", () => download(table));
    const tools = make("p", { class: "tools" });
    tools.append(button);
    table.parentNode.before(tools);
  }

  // ------------------------------------------------------------------------------------------------ brain maps

  const tip = by("tip");

  function showTip(mark, x, y) {
    tip.textContent = mark.getAttribute("aria-label");
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? y - height - 10 : y + 18}px`;
  }

  const hideTip = () => { tip.hidden = true; };

  // One tab stop per map; the arrow keys move between its regions.
  function moveFocus(event, marks) {
    const at = marks.indexOf(event.target);
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: marks.length - 1 };
    if (event.key === "Escape") hideTip();
    if (at < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = marks[(steps[event.key] + marks.length) % marks.length];
    event.target.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  }

  for (const map of all(".views")) {
    const marks = all("use.mark", map);
    marks.forEach((mark, i) => {
      mark.setAttribute("aria-label", mark.textContent);
      mark.replaceChildren();
      mark.setAttribute("tabindex", i ? -1 : 0);
    });
    map.addEventListener("pointermove", (event) => {
      if (event.target.matches("use.mark")) showTip(event.target, event.clientX, event.clientY);
      else hideTip();
    });
    map.addEventListener("pointerleave", hideTip);
    map.addEventListener("focusout", hideTip);
    map.addEventListener("focusin", (event) => {
      const box = event.target.getBoundingClientRect();
      if (event.target.matches("use.mark:focus-visible")) showTip(event.target, box.x + box.width / 2, box.y + box.height / 2);
    });
    map.addEventListener("keydown", (event) => moveFocus(event, marks));
  }

  // ------------------------------------------------------------------------------------------------ one person

  const source = by("people-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const d = data.regions.length;
  const STRONGEST = 10;
  const conditional = "The curves do not depend on the other regions of this person; z in the table does.";
  const CONTEXT = { reconstruction: conditional, cross_modal: conditional, local: conditional };

  // Two bytes per number, row by row: low + step * code of the column; see `packed` in explorer.py.
  function unpacked({ low, step, codes }) {
    const text = atob(codes);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const numbers = new Uint16Array(bytes.buffer);
    return (row, column) => {
      const code = numbers[row * d + column];
      return code === 65535 ? NaN : low[column] + step[column] * code;
    };
  }

  const cells = Object.fromEntries(Object.entries(data.cells).map(([name, table]) => [name, unpacked(table)]));
  const curves = data.curves && { ...data.curves, values: unpacked(data.curves.values) };
  const cell = (name, person, region) => (cells[name] ? cells[name](person, region) : NaN);
  const painted = all(".explorer use.mark[data-region]");
  const state = { person: 0, region: 0, matches: [] };

  function colour(z) {
    if (nothing(z)) return "none";
    const share = Math.max(0, Math.min(1, (z / data.limit + 1) / 2));
    return data.colours[Math.round(share * (data.colours.length - 1))];
  }

  function strongest(person) {
    const z = (region) => Math.abs(cell("z", person, region));
    const seen = data.regions.map((_, i) => i).filter((i) => !nothing(cell("z", person, i)));
    return seen.sort((a, b) => z(b) - z(a)).slice(0, STRONGEST);
  }

  function showTable(person) {
    const table = by("strongest");
    const rows = strongest(person).map((region) => {
      const row = make("tr");
      const heading = make("th", { scope: "row" });
      const button = make("button", { type: "button", title: "Show the centile curve" }, data.regions[region]);
      button.addEventListener("click", () => showRegion(region));
      heading.append(button);
      const [z, p, q, observed, expected] = ["z", "p", "q", "observed", "expected"].map((name) => cell(name, person, region));
      const texts = [score(z), chance(p), chance(q), figures(observed), figures(expected)];
      row.append(heading, make("td", {}, data.modalities[region]), ...texts.map((text) => make("td", { class: "right" }, text)));
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
  }

  function showMap(person) {
    for (const mark of painted) {
      const region = Number(mark.dataset.region);
      const [z, q] = [cell("z", person, region), cell("q", person, region)];
      mark.setAttribute("fill", colour(z));
      mark.classList.toggle("none", nothing(z));
      mark.classList.toggle("pale", !(q < 0.05));
      const text = nothing(z) ? "not observed" : `z ${score(z)}, q ${chance(q)}`;
      mark.setAttribute("aria-label", `${data.regions[region]} (${data.modalities[region]}): ${text}`);
    }
  }

  function showPerson(person) {
    state.person = person;
    by("who").textContent = `${data.ids[person]}, ${data.groups[person]}`;
    by("person").value = person;
    by("caution").textContent = data.cautions[person];
    by("caution").hidden = !data.cautions[person];
    by("facts").replaceChildren(...data.facts.map(([name, texts]) => {
      const pair = make("div");
      pair.append(make("dt", {}, name), make("dd", {}, texts[person]));
      return pair;
    }));
    showMap(person);
    showTable(person);
    showRegion(strongest(person)[0] ?? 0);
  }

  // ------------------------------------------------------------------------------------------------ centile curves

  function showRegion(region) {
    state.region = region;
    by("region").value = region;
    for (const mark of painted) mark.classList.toggle("chosen", Number(mark.dataset.region) === region);
    const profile = curves ? curves.profile[state.person] : -1;
    const at = curves ? curves.at[state.person] : null;
    by("curve").replaceChildren();
    if (!curves || profile < 0 || at === null) {
      by("curve-text").textContent = curves
        ? "This run has no centile curves for the covariates of this person."
        : "This run has no centile curves.";
      return;
    }
    const n = curves.grid.length;
    const first = profile * curves.centiles.length * n;
    const lines = curves.centiles.map((_, k) => curves.grid.map((__, i) => curves.values(first + k * n + i, region)));
    const value = cell("observed", state.person, region);
    const here = Math.max(curves.grid[0], Math.min(curves.grid[n - 1], at));
    const centiles = curves.centiles.map((q, k) => `${q} %: ${figures(between(curves.grid, lines[k], here))}`).join(", ");
    const what = `${data.regions[region]} (${data.modalities[region]})`;
    const beyond = here === at ? "" : ` (outside the range of the curves, read at ${figures(here)})`;
    const own = nothing(value) ? "not observed" : figures(value);
    const fixed = curves.profiles[profile] ? ` with ${curves.profiles[profile]}` : "";
    by("curve-text").textContent = `${what} at ${curves.by} ${figures(at)}${beyond}: this person ${own}; centiles of ` +
      `controls${fixed}: ${centiles}. ${CONTEXT[data.kind] || ""}`;
    chart(lines, at, value, what);
  }

  function between(grid, line, x) {
    const i = Math.max(1, grid.findIndex((value) => value >= x));
    return line[i - 1] + ((line[i] - line[i - 1]) * (x - grid[i - 1])) / (grid[i] - grid[i - 1]);
  }

  // Round steps, four to eight ticks per axis.
  function ticks(low, high) {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
  }

  function chart(lines, at, value, what) {
    const [left, right, top, bottom] = [76, 556, 26, 300];
    const everything = [...lines.flat(), ...(nothing(value) ? [] : [value])];
    const [xs, ys] = [[...curves.grid, at], everything].map((part) => [Math.min(...part), Math.max(...part)]);
    const room = 0.04 * (ys[1] - ys[0] || 1);
    const x = (age) => left + ((right - left) * (age - xs[0])) / (xs[1] - xs[0] || 1);
    const y = (size) => bottom - ((bottom - top) * (size - ys[0] + room)) / (ys[1] - ys[0] + 2 * room);
    const label = `Centile curves of ${what} over ${curves.by}; the values are in the text below`;
    const svg = draw(by("curve"), "svg", { viewBox: "0 0 620 350", role: "img", "aria-label": label });
    for (const tick of ticks(ys[0] - room, ys[1] + room)) {
      draw(svg, "path", { class: "grid", d: `M${left} ${y(tick)}H${right}` });
      const text = minus(tick.toLocaleString("en", { maximumSignificantDigits: 6 }));
      draw(svg, "text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, text);
    }
    for (const tick of ticks(xs[0], xs[1])) {
      draw(svg, "path", { class: "axis", d: `M${x(tick)} ${bottom}v5` });
      draw(svg, "text", { x: x(tick), y: bottom + 20, "text-anchor": "middle" }, figures(tick).replace(/\.0+$/, ""));
    }
    draw(svg, "path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` });
    const unit = curves.by === "age" ? " (years)" : "";
    draw(svg, "text", { x: (left + right) / 2, y: bottom + 42, "text-anchor": "middle" }, curves.by + unit);
    draw(svg, "text", { x: left, y: top - 10 }, `${what}, unit of the table`);
    let below = Infinity; // labels of neighbouring curves are moved upwards to avoid overlap
    lines.forEach((line, k) => {
      const middle = curves.centiles[k] === 50 ? " middle" : "";
      const path = line.map((size, i) => `${i ? "L" : "M"}${x(curves.grid[i]).toFixed(1)} ${y(size).toFixed(1)}`).join("");
      draw(svg, "path", { class: `curve${middle}`, d: path });
      below = Math.min(y(line[line.length - 1]) + 4, below - 13);
      draw(svg, "text", { x: x(curves.grid[line.length - 1]) + 6, y: below }, `${curves.centiles[k]} %`);
    });
    draw(svg, "path", { class: "at", d: `M${x(at)} ${top}V${bottom}` });
    if (!nothing(value)) draw(svg, "circle", { class: "who", cx: x(at), cy: y(value), r: 6 });
  }

  // ------------------------------------------------------------------------------------------------ selection of a person

  const option = (person) => make("option", { value: person }, `${data.ids[person]} \u00b7 ${data.groups[person]}`);

  function find() {
    const wanted = by("find").value.trim().toLowerCase();
    state.matches = data.ids.map((_, i) => i).filter((i) => `${data.ids[i]} ${data.groups[i]}`.toLowerCase().includes(wanted));
    by("person").replaceChildren(...state.matches.map(option));
    by("matches").textContent = `${state.matches.length.toLocaleString("en")} of ${data.ids.length.toLocaleString("en")} people`;
    if (state.matches.length) showPerson(state.matches.includes(state.person) ? state.person : state.matches[0]);
  }

  function step(offset) {
    const n = state.matches.length;
    if (n) showPerson(state.matches[(state.matches.indexOf(state.person) + offset + n) % n]);
  }

  by("find").addEventListener("input", find);
  by("person").addEventListener("change", (event) => showPerson(Number(event.target.value)));
  by("before").addEventListener("click", () => step(-1));
  by("after").addEventListener("click", () => step(1));
  by("region").append(...data.regions.map((name, i) => make("option", { value: i }, `${name} (${data.modalities[i]})`)));
  by("region").addEventListener("change", (event) => showRegion(Number(event.target.value)));
  for (const map of all(".explorer .views")) {
    const chosen = (event) => event.target.dataset?.region && showRegion(Number(event.target.dataset.region));
    map.addEventListener("click", chosen);
    map.addEventListener("keydown", (event) => event.key === "Enter" && chosen(event));
  }
  by("explorer").hidden = false;
  find();
})();
