// The movable thresholds of the corpus section. Nothing here builds HTML from text: documents come
// from strangers, so they enter the page through textContent only.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("corpus-data").textContent);
  const SIDE = 3;
  const WIDTH = 720;
  const moved = new Map();

  const count = (value) => value.toLocaleString("en-US");
  const short = (value) => (Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4))));
  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  function card(value, place, fails) {
    const entry = data.documents[place];
    const made = element("article", "document");
    const head = element("header", "");
    const address = element("code", "", entry.address);
    address.title = entry.id;
    head.append(element("b", "", short(value)), address);
    if (fails.length) head.append(element("span", "badge", "also fails " + fails.join(", ")));
    const text = element("pre", "", entry.text);
    text.dir = "auto";
    made.append(head, text);
    return made;
  }

  // The documents nearest to `threshold` that fail it and that pass it; those that no other rule
  // drops come first.
  function nearest(bound, threshold) {
    const sides = { dropped: [], kept: [] };
    for (const entry of bound.around) {
      const fails = bound.below ? entry[0] < threshold : entry[0] > threshold;
      sides[fails ? "dropped" : "kept"].push(entry);
    }
    const order = (a, b) =>
      (a[2].length > 0) - (b[2].length > 0) || Math.abs(a[0] - threshold) - Math.abs(b[0] - threshold);
    for (const side of Object.values(sides)) side.sort(order).splice(SIDE);
    return sides;
  }

  function show(root, bound, position) {
    const threshold = bound.grid[position];
    const x = bound.places[position] * WIDTH;
    root.querySelector("clipPath .left").setAttribute("width", x);
    const right = root.querySelector("clipPath .right");
    right.setAttribute("x", x);
    right.setAttribute("width", WIDTH - x);
    root.querySelector(".handle").setAttribute("transform", "translate(" + x + " 0)");
    root.querySelector("input").setAttribute("aria-valuetext", short(threshold));
    root.querySelector(".value").textContent = short(threshold);
    root.querySelector(".fails").textContent = count(bound.fails[position]);
    root.querySelector(".decides").textContent = count(bound.decides[position]);
    const change = bound.decides[position] - bound.decides[bound.start];
    const words = change > 0 ? " fewer pass all rules" : " more pass all rules";
    const difference = root.querySelector(".difference");
    difference.textContent = change ? count(Math.abs(change)) + words : "no change";
    difference.className = "difference " + (change > 0 ? "less" : change < 0 ? "more" : "");
    root.querySelector(".reset").hidden = position === bound.start;
    for (const [side, entries] of Object.entries(nearest(bound, threshold))) {
      const column = root.querySelector(".side." + side + " div");
      column.replaceChildren(...entries.map((entry) => card(...entry)));
      if (!entries.length) column.append(element("p", "soft", "No document here was kept to be shown."));
    }
    if (position === bound.start) moved.delete(bound);
    else moved.set(bound, bound.override + "=" + threshold);
    const command = document.getElementById("what-if");
    command.hidden = moved.size === 0;
    command.querySelector("code").textContent =
      "tsumugu corpus what-if " + data.run + " " + [...moved.values()].join(" ");
  }

  const resets = [];
  for (const root of document.querySelectorAll(".bound")) {
    const bound = data.bounds[Number(root.dataset.bound)];
    const slider = root.querySelector("input");
    const at = (place) => {
      let best = 0;
      bound.places.forEach((other, index) => {
        if (Math.abs(other - place) < Math.abs(bound.places[best] - place)) best = index;
      });
      return best;
    };
    const move = (position) => {
      slider.value = bound.places[position] * slider.max;
      show(root, bound, position);
    };
    slider.disabled = false;
    // The slider stays where it is: put on the nearest position, the arrow keys might not leave it.
    slider.addEventListener("input", () => show(root, bound, at(slider.value / slider.max)));
    root.querySelector(".reset").addEventListener("click", () => move(bound.start));
    resets.push(() => move(bound.start));

    const drawing = root.querySelector("svg");
    const follow = (event) => {
      const box = drawing.getBoundingClientRect();
      move(at((event.clientX - box.left) / box.width));
    };
    drawing.addEventListener("pointerdown", (event) => {
      drawing.setPointerCapture(event.pointerId);
      follow(event);
    });
    drawing.addEventListener("pointermove", (event) => {
      if (drawing.hasPointerCapture(event.pointerId)) follow(event);
    });
  }
  document.querySelector("#what-if button").addEventListener("click", () => resets.forEach((reset) => reset()));
  document.documentElement.classList.add("live");
})();
