// What the pages do beyond links and forms. Text from the server is only ever set as text.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

function element(tag, classes, ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}

function address(path, query) {
  return `${path}?${new URLSearchParams(Object.entries(query).filter(([, value]) => value !== null))}`;
}

// The opacity of what lies over the photographs, kept from page to page.
function setUpSlider() {
  const slider = $("#opacity");
  const set = (value) => document.documentElement.style.setProperty("--opacity", value / 100);
  const kept = localStorage.getItem("opacity");
  if (kept !== null) set(kept);
  if (!slider) return;
  if (kept !== null) slider.value = kept;
  slider.addEventListener("input", () => {
    set(slider.value);
    localStorage.setItem("opacity", slider.value);
  });
}

function setUpForms() {
  for (const select of $$("[data-submit]")) {
    select.addEventListener("change", () => {
      for (const field of $$("select, input", select.form)) field.disabled = field.value === "";
      select.form.submit();
    });
  }
}

function isTyping(event) {
  return event.ctrlKey || event.altKey || event.metaKey ||
    (event.target instanceof Element && event.target.matches("input, select, textarea"));
}

// Arrow keys follow the links to the page before and after.
function setUpKeys() {
  document.addEventListener("keydown", (event) => {
    if (isTyping(event)) return;
    const rel = { ArrowLeft: "prev", ArrowRight: "next", j: "next", k: "prev" }[event.key];
    const target = rel && $(`a[rel=${rel}]`);
    if (target) target.click();
  });
}

// A picture that the cache does not have.
function setUpMissing() {
  document.addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement) event.target.parentElement.classList.add("missing");
  }, true);
}

// Where each stage stands; asking DVC takes a moment, so it comes after the page. What runs is asked
// for all the time, which is cheap; when a stage has ended, its card and row are fetched anew.
const BUSY = 2000, IDLE = 5000; // milliseconds

function setUpStates() {
  if (!$("[data-states]")) return;
  let plan = new Map();
  let running = new Map();
  let seen = null;

  const paint = () => {
    const of = (name) => (running.has(name) ? ["running", running.get(name)] : plan.get(name));
    for (const dot of $$("#stages .dot")) {
      const [state, reason] = of(dot.dataset.stage) ?? ["", ""];
      dot.setAttribute("class", `dot ${state.replace(" ", "-")}`);
      const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
      title.textContent = `${dot.dataset.stage}: ${state} ${reason}`;
      dot.replaceChildren(...(state ? [title] : []));
    }
    for (const cell of $$("[data-state]")) {
      const [state, reason] = of(cell.dataset.state) ?? ["", ""];
      cell.className = `state ${state.replace(" ", "-")}`;
      cell.replaceChildren(state, ...(reason && reason !== state ? [element("span", "soft", ` ${reason}`)] : []));
    }
    for (const card of $$(".card")) {
      const states = $$(".dot", card).map((dot) => of(dot.dataset.stage)?.[0]);
      for (const state of ["running", "failed"]) card.classList.toggle(state, states.includes(state));
    }
    if (plan.size || running.size) $("#running").replaceChildren(...[...running].map(([name, text]) => element("span", "", element("b", "", name), ` ${text}`)));
  };

  const ask = async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer;
  };

  const refresh = async () => {
    const text = await (await ask(location)).text();
    const fresh = $("#stages", new DOMParser().parseFromString(text, "text/html"));
    const focused = document.activeElement?.getAttribute("href");
    if (fresh) $("#stages").replaceWith(fresh);
    if (focused) $$("#stages a").find((link) => link.getAttribute("href") === focused)?.focus();
    setUpGraph();
  };

  const look = async () => {
    try {
      if (!document.hidden) {
        const found = await (await ask("/activity")).json();
        running = new Map(Object.entries(found.running));
        const now = JSON.stringify([found.recorded, Object.keys(found.running)]);
        paint();
        if (now !== seen) {
          if (seen !== null) await refresh();
          seen = now;
          plan = new Map((await (await ask("/states")).json()).map(({ name, state, reason }) => [name, [state, reason]]));
          paint();
        }
      }
    } catch (error) {
      seen ??= ""; // the server is away, or DVC was writing; the next look asks again
    }
    setTimeout(look, running.size ? BUSY : IDLE);
  };
  look();
}

// Links of the card under the pointer stand out.
function setUpGraph() {
  for (const card of $$(".card")) {
    const mark = (on) => {
      for (const link of $$(".link")) {
        const touches = [link.dataset.from, link.dataset.to].includes(card.dataset.group);
        link.classList.toggle("near", on && touches);
      }
    };
    card.addEventListener("pointerenter", () => mark(true));
    card.addEventListener("pointerleave", () => mark(false));
  }
}

// The same place in every picture of an image; a click on a graph asks for its affinities there.
function setUpViews() {
  const views = $$("#views .tile");
  if (!views.length) return;
  const crosses = views.map((view) => {
    const cross = element("span", "cross");
    cross.hidden = true;
    $(".picture", view).append(cross);
    return cross;
  });
  const place = (event, view) => {
    const box = $(".picture", view).getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  for (const view of views) {
    const picture = $(".picture", view);
    picture.addEventListener("pointermove", (event) => {
      const [x, y] = place(event, view);
      for (const cross of crosses) {
        cross.hidden = false;
        cross.style.left = `${100 * x}%`;
        cross.style.top = `${100 * y}%`;
      }
    });
    picture.addEventListener("pointerleave", () => crosses.forEach((cross) => { cross.hidden = true; }));
    if (!view.classList.contains("is-graphs")) continue;
    picture.addEventListener("click", (event) => {
      const [x, y] = place(event, view);
      const over = $(".over", view);
      const wanted = new URL(over.dataset.address, location);
      wanted.searchParams.set("x", Math.floor(x * view.dataset.width));
      wanted.searchParams.set("y", Math.floor(y * view.dataset.height));
      over.src = wanted;
    });
  }
}

// Which class the score maps show.
function setUpClasses() {
  const chosen = $("#category");
  if (!chosen) return;
  const show = () => {
    for (const over of $$(".is-score_maps .over")) {
      const wanted = new URL(over.dataset.address, location);
      if (chosen.value === "") wanted.searchParams.delete("category");
      else wanted.searchParams.set("category", chosen.value);
      over.src = wanted;
    }
    const name = chosen.value === "" ? "best class but background" : chosen.selectedOptions[0].text;
    for (const line of $$(".scored")) line.textContent = name;
  };
  chosen.addEventListener("change", show);
  if (chosen.value !== "") show(); // what the browser kept from before
}

// Lines of JSON as they come.
async function* linesOf(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield parts.map((part) => JSON.parse(part));
  }
}

function picture(photograph, over) {
  const box = element("span", "picture");
  const below = element("img");
  below.alt = "";
  below.src = photograph;
  below.addEventListener("load", () => {
    box.style.aspectRatio = `${below.naturalWidth} / ${below.naturalHeight}`;
  });
  box.style.aspectRatio = "4 / 3";
  const above = element("img", "over");
  above.alt = "";
  if (over) above.src = over;
  box.append(below, ...(over ? [above] : []));
  return box;
}

const percent = (value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} %`);

// A list that is sorted anew while its numbers come in, and shown page by page.
class Ranking {
  constructor({ place, fields, pager, progress, count, draw, orders, keep = () => true }) {
    Object.assign(this, { place, fields, pager, progress, count, draw, orders, keep });
    this.rows = [];
    this.size = 20;
    this.shown = "";
    // A link to this view opens this view: what is chosen stands behind the #.
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const field of this.fields) {
      if (asked.has(field.id)) field.value = asked.get(field.id);
      field.addEventListener("change", () => this.choose());
    }
    this.page = Number(asked.get("page")) || 1;
  }

  choose() {
    this.page = 1;
    this.show();
    this.remember();
  }

  remember() {
    const chosen = this.fields.map((field) => [field.id, field.value]);
    history.replaceState(null, "", `#${new URLSearchParams([...chosen, ["page", this.page]])}`);
  }

  async read(path) {
    let last = 0;
    for await (const found of linesOf(path)) {
      this.rows.push(...found);
      this.progress.textContent = this.rows.length < this.count ? `${this.rows.length} of ${this.count} measured` : "";
      if (performance.now() - last > 600) {
        this.show();
        last = performance.now();
      }
    }
    this.progress.textContent = `${this.rows.length} measured`;
    this.show();
    document.body.dataset.ready = "true";
  }

  turn(step) {
    this.page += step;
    this.show();
    this.remember();
    this.place.scrollIntoView();
  }

  show() {
    const order = this.orders[this.fields[0].value];
    this.rows.sort((a, b) => order(a) - order(b) || (a.image_id < b.image_id ? -1 : 1));
    const kept = this.rows.filter(this.keep);
    const pages = Math.max(Math.ceil(kept.length / this.size), 1);
    if (this.rows.length === this.count) this.page = Math.min(this.page, pages);
    this.page = Math.max(this.page, 1);
    const part = kept.slice((this.page - 1) * this.size, this.page * this.size);
    const key = JSON.stringify([this.page, part]);
    if (key !== this.shown) {
      this.shown = key;
      for (const row of $$(".row:not(.head)", this.place)) row.remove();
      this.place.append(...part.map((row) => this.draw(row)));
    }
    const button = (text, step) => {
      const made = element("button", "", text);
      made.type = "button";
      made.addEventListener("click", () => this.turn(step));
      return made;
    };
    this.pager.replaceChildren(...(pages > 1 ? [button("←", -1), ` page ${this.page} of ${pages} `, button("→", 1)] : []));
  }

  keys(event) {
    if (isTyping(event)) return;
    if (event.key === "ArrowLeft") this.turn(-1);
    if (event.key === "ArrowRight") this.turn(1);
  }
}

const high = (value, missing = -Infinity) => -(value ?? missing);

function setUpComparison() {
  const place = $("#comparison");
  if (!place) return;
  const { layer, first, second } = place.dataset;
  const draw = (row) => {
    const id = row.image_id;
    const link = element("a", "", id);
    link.href = address("/image", { id, rev: second === "workspace" ? null : second });
    const facts = element("div", "facts", link);
    if (row.error) {
      facts.append(element("div", "down", row.error));
      return element("div", "row", facts);
    }
    facts.append(element("div", "", `${row.pixels} pixels, ${percent(row.share)}`));
    facts.append(element("div", "", `IoU of the two ${percent(row.iou)}`));
    if (row.gain !== null) {
      facts.append(element("div", "", `mIoU ${percent(row.first)} → ${percent(row.second)}`));
      facts.append(element("div", row.gain < 0 ? "down" : "up", `${row.gain > 0 ? "+" : ""}${row.gain.toFixed(1)}`));
    }
    const shot = (rev) => address("/photograph", { id, rev, side: 400 });
    const over = (rev) => address("/layer", { name: layer, id, rev, side: 400 });
    const before = picture(shot(second), over(first));
    const after = picture(shot(second), over(second));
    after.classList.add("second");
    const under = element("img", "over first");
    under.src = over(first);
    under.alt = "";
    under.hidden = true;
    after.append(under);
    const changed = picture(shot(second), address("/difference", { layer, id, first, second, side: 400 }));
    return element("div", "row", facts, before, after, changed);
  };
  const ranking = new Ranking({
    place, draw, fields: [$("#sort")], pager: $("#rows-pager"), progress: $("#progress"), count: Number(place.dataset.count),
    orders: {
      loss: (row) => row.gain ?? Infinity,
      gain: (row) => high(row.gain),
      pixels: (row) => high(row.pixels),
      iou: (row) => row.iou ?? Infinity,
      image_id: () => 0,
    },
  });
  document.addEventListener("keydown", (event) => {
    ranking.keys(event);
    if (isTyping(event) || (event.key !== "f" && event.key !== " ")) return;
    event.preventDefault();
    const on = !place.classList.contains("flicker");
    place.classList.toggle("flicker", on);
    for (const under of $$(".second .first", place)) under.hidden = !on;
  });
  ranking.read(address("/compare/scores", { layer, first, second }));
}

// The boxes of an image as frames over its pictures, the one that is filled least above the others.
function frames([width, height], boxes, worst) {
  const drawn = (tag, values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
    return made;
  };
  const svg = drawn("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": true });
  const frame = ({ colour, corners: [x0, y0, x1, y1] }, kind) =>
    drawn("rect", { class: kind, x: x0, y: y0, width: x1 - x0, height: y1 - y0, stroke: colour });
  svg.append(...boxes.filter((box) => box !== worst).map((box) => frame(box, "box")));
  if (worst) svg.append(frame(worst, "under"), frame(worst, "box worst"));
  return svg;
}

const KEYS = { 1: "good", 2: "bad", 3: "to-correct", 0: null };

function setUpReview() {
  const place = $("#review");
  if (!place) return;
  const { layer, seeds, rev } = place.dataset;
  const marks = JSON.parse(place.dataset.marks);
  const stale = new Set(JSON.parse(place.dataset.stale));
  const wanted = $("#marked");
  const paint = (row) => {
    const mark = marks[row.dataset.id] ?? null;
    for (const button of $$(".marks button", row)) button.classList.toggle("here", button.value === mark);
  };
  const set = async (row, mark) => {
    const id = row.dataset.id;
    const answer = await fetch("/review/mark", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id, mark }),
    });
    if (!answer.ok) {
      $(".facts", row).append(element("div", "down", `not kept: ${answer.status}`));
      return;
    }
    if (mark === null) delete marks[id];
    else marks[id] = mark;
    stale.delete(id);
    paint(row);
  };
  const draw = (found) => {
    const id = found.image_id;
    const link = element("a", "", id);
    link.href = address("/image", { id, rev: rev === "workspace" ? null : rev });
    const facts = element("div", "facts", link);
    const row = element("div", "row", facts);
    row.dataset.id = id;
    if (found.error) facts.append(element("div", "down", found.error));
    facts.append(element("div", "", `disagree ${percent(found.disagreement)}`));
    facts.append(element("div", "", `unsure ${percent(found.entropy)}`));
    facts.append(element("div", "", `box not filled ${percent(found.unfilled)}`));
    const boxes = found.boxes ?? [];
    const worst = boxes.find((box) => box.unfilled !== null && box.unfilled > 0 && box.unfilled === found.unfilled) ?? null;
    if (worst) {
      const chip = element("i", "chip");
      chip.style.background = worst.colour;
      facts.append(element("div", "soft", "worst box: ", chip, worst.name));
    }
    if (stale.has(id)) facts.append(element("div", "other", "the labels have changed since the mark"));
    const buttons = element("div", "marks");
    for (const verdict of ["good", "bad", "to-correct"]) {
      const button = element("button", "", verdict.replace("-", " "));
      button.type = "button";
      button.value = verdict;
      button.addEventListener("click", () => set(row, marks[id] === verdict ? null : verdict));
      buttons.append(button);
    }
    facts.append(buttons);
    const shot = address("/photograph", { id, rev, side: 400 });
    const over = (name) => (name ? address("/layer", { name, id, rev, side: 400 }) : null);
    const pictures = [picture(shot, over(layer)), picture(shot, over(seeds)), picture(shot, null)];
    for (const shown of found.size ? [pictures[0], pictures[2]] : []) shown.append(frames(found.size, boxes, worst));
    row.append(...pictures);
    paint(row);
    return row;
  };
  const ranking = new Ranking({
    place, draw, fields: [$("#sort"), wanted], pager: $("#rows-pager"), progress: $("#progress"), count: Number(place.dataset.count),
    orders: {
      disagreement: (row) => high(row.disagreement),
      entropy: (row) => high(row.entropy),
      unfilled: (row) => high(row.unfilled),
      image_id: () => 0,
    },
    keep: (row) => !wanted.value || (marks[row.image_id] ?? "none") === wanted.value,
  });
  document.addEventListener("keydown", (event) => {
    ranking.keys(event);
    if (isTyping(event)) return;
    const rows = $$(".row:not(.head)", place);
    const at = rows.findIndex((row) => row.classList.contains("there"));
    const go = (to) => {
      if (!rows[to]) return;
      rows[at]?.classList.remove("there");
      rows[to].classList.add("there");
      rows[to].scrollIntoView({ block: "nearest" });
    };
    if (event.key === "b") place.classList.toggle("unframed");
    if (event.key === "j") go(at + 1);
    if (event.key === "k") go(Math.max(at - 1, 0));
    if (event.key in KEYS && rows[at]) {
      set(rows[at], KEYS[event.key]);
      go(at + 1);
    }
  });
  ranking.read(address("/review/doubts", { rev }));
}

setUpSlider();
setUpForms();
setUpKeys();
setUpMissing();
setUpStates();
setUpGraph();
setUpViews();
setUpClasses();
setUpComparison();
setUpReview();
