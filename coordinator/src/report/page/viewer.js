"use strict";
// Slices with truth, mask and map over them. Data: see page/viewer.rs.
(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const by = (name) => document.getElementById(`viewer-${name}`);
  const root = document.getElementById("viewer");
  const [canvas, beside] = [by("canvas"), by("beside")];
  if (data.slices.length === 0) return;

  const patients = [];
  for (const slice of data.slices) {
    const known = patients.find((patient) => patient.name === slice.subject);
    if (known) known.slices.push(slice);
    else patients.push({ name: slice.subject, slices: [slice] });
  }

  const view = { patient: 0, slice: 0, method: 0, modality: 0, t: true, m: true, h: false, d: false, s: false, o: true };
  const zoom = 3;
  const current = () => patients[view.patient].slices[view.slice];

  // Grey levels of a PNG file; kept, since decoding takes a moment.
  const kept = new Map();
  const levels = (file, width, height) => {
    if (!kept.has(file)) {
      if (kept.size > 400) kept.clear();
      kept.set(file, new Promise((done) => {
        const image = new Image();
        image.onload = () => {
          const sheet = document.createElement("canvas");
          [sheet.width, sheet.height] = [width, height];
          const context = sheet.getContext("2d", { willReadFrequently: true });
          context.drawImage(image, 0, 0);
          const rgba = context.getImageData(0, 0, width, height).data;
          done(Uint8Array.from({ length: width * height }, (_, pixel) => rgba[4 * pixel]));
        };
        image.onerror = () => done(new Uint8Array(width * height));
        image.src = `data:image/png;base64,${file}`;
      }));
    }
    return kept.get(file);
  };

  const unpacked = (runs, count) => {
    const pixels = new Uint8Array(count);
    let at = 0;
    runs.forEach((run, number) => {
      if (number % 2) pixels.fill(1, at, Math.min(count, at + run));
      at += run;
    });
    return pixels;
  };

  // One scale for all maps of a method: levels of most are logarithms between their own ends; the others keep theirs.
  const ends = data.methods.map((_, method) => {
    let [low, high] = [Infinity, -Infinity];
    for (const slice of data.slices) {
      const one = slice.methods[method];
      if (!one || !one.logarithmic) continue;
      if (one.low > 0) low = Math.min(low, one.low);
      if (one.high > 0) high = Math.max(high, one.high);
    }
    return [low, high];
  });
  const shared = (level, one, method) => {
    const [low, high] = ends[method];
    if (!(one.logarithmic && low > 0 && high > low && one.low > 0 && one.high >= one.low)) return level;
    const value = Math.log(one.low) + (level / 255) * Math.log(one.high / one.low);
    return Math.round((255 * (value - Math.log(low))) / Math.log(high / low));
  };

  const paint = (target, slice, image, map, layers, method) => {
    const one = slice.methods[method] ?? null;
    const { width, height } = slice;
    const [wide, high] = [zoom * width, zoom * height];
    if (target.width !== wide || target.height !== high) [target.width, target.height] = [wide, high];
    const context = target.getContext("2d");
    const picture = context.createImageData(wide, high);
    const truth = unpacked(slice.truth, width * height);
    const mask = one ? unpacked(one.mask, width * height) : new Uint8Array(width * height);
    for (let y = 0; y < high; y += 1) {
      for (let x = 0; x < wide; x += 1) {
        const [column, row] = [Math.floor(x / zoom), Math.floor(y / zoom)];
        const pixel = row * width + column;
        let colour = [image[pixel], image[pixel], image[pixel]];
        if (layers.h && map) colour = data.scale[Math.max(0, Math.min(255, view.o ? map[pixel] : shared(map[pixel], one, method)))];
        if (layers.d) {
          const [real, said] = [truth[pixel], mask[pixel]];
          if (real && said) colour = [255, 255, 255];
          else if (real && (x + y) % 6 < 3) colour = [230, 159, 0];
          else if (said && !real && (x - y + 3 * high) % 6 < 3) colour = [56, 140, 224];
        } else if (layers.m && mask[pixel]) {
          colour = [0.45 * colour[0] + 0.55 * 86, 0.45 * colour[1] + 0.55 * 180, 0.45 * colour[2] + 0.55 * 233];
        }
        if (layers.t && truth[pixel]) {
          const [left, top] = [x % zoom === 0, y % zoom === 0];
          const [right, bottom] = [x % zoom === zoom - 1, y % zoom === zoom - 1];
          const outside = (dx, dy) => {
            const [a, b] = [column + dx, row + dy];
            return a < 0 || b < 0 || a >= width || b >= height || !truth[b * width + a];
          };
          if ((left && outside(-1, 0)) || (right && outside(1, 0)) || (top && outside(0, -1)) || (bottom && outside(0, 1))) colour = [230, 159, 0];
        }
        picture.data.set([colour[0], colour[1], colour[2], 255], 4 * (y * wide + x));
      }
    }
    context.putImageData(picture, 0, 0);
  };

  const short = (value) => (value === 0 ? "0" : value.toExponential(1));
  let turn = 0;
  const show = async () => {
    const mine = (turn += 1);
    const slice = current();
    const one = slice.methods[view.method] ?? null;
    const other = data.beside[view.method];
    const image = await levels(slice.images[view.modality] ?? "", slice.width, slice.height);
    // A run keeps the maps of some slices only.
    const map_of = (made) => (made && made.map ? levels(made.map, slice.width, slice.height) : null);
    const map = await map_of(one);
    const other_map = other === null ? map : await map_of(slice.methods[other]);
    // A later key was faster.
    if (mine !== turn) return;
    paint(canvas, slice, image, map, view, view.method);
    beside.hidden = !view.s;
    if (view.s && other === null) paint(beside, slice, image, map, { h: true, t: view.t }, view.method);
    else if (view.s) paint(beside, slice, image, other_map, view, other);
    const kind = slice.unhealthy ? "unhealthy" : "healthy";
    const told = (method) => {
      const made = slice.methods[method];
      return made
        ? `${data.methods[method]}: called ${made.called ? "unhealthy" : "healthy"}, DICE of the mask ${(100 * made.dice).toFixed(1)} %`
        : `nothing of ${data.methods[method]}`;
    };
    const said = view.s && other !== null ? `${told(view.method)}. Beside it ${told(other)}` : told(view.method);
    const text = `${slice.subject}, slice ${slice.slice} (${view.slice + 1} of ${patients[view.patient].slices.length}), ${kind}. ${said}.`;
    by("says").textContent = text;
    canvas.setAttribute("aria-label", text);
    const own = view.o || !(one && one.logarithmic);
    const [low, high] = one ? (own ? [one.low, one.high] : ends[view.method]) : [0, 0];
    by("range").textContent = one && !one.map ? "the map of this slice was not kept" : one ? `${short(low)} to ${short(high)}, ${one.logarithmic ? "logarithmic" : "linear"}, ${own ? "this map's" : "all maps of the method"}` : "";
    by("scale").hidden = !(view.h || view.s);
    by("patient").value = view.patient;
    by("slice").max = patients[view.patient].slices.length - 1;
    by("slice").value = view.slice;
    by("method").value = view.method;
    by("modality").value = view.modality;
    for (const button of root.querySelectorAll("[data-key]")) {
      if (button.dataset.key in view) button.setAttribute("aria-pressed", String(view[button.dataset.key]));
    }
  };

  const go = (patient, slice) => {
    view.patient = Math.max(0, Math.min(patients.length - 1, patient));
    view.slice = Math.max(0, Math.min(patients[view.patient].slices.length - 1, slice));
  };

  const press = (key) => {
    if (key === "ArrowRight") go(view.patient, view.slice + 1);
    else if (key === "ArrowLeft") go(view.patient, view.slice - 1);
    else if (key === "ArrowDown") go(view.patient + 1, view.slice);
    else if (key === "ArrowUp") go(view.patient - 1, view.slice);
    else if (/^[1-9]$/.test(key) && Number(key) <= data.methods.length) view.method = Number(key) - 1;
    else if (key === "w") view.modality = (view.modality + 1) % Math.max(1, data.modalities.length);
    else if (key.length === 1 && "tmhdso".includes(key)) view[key] = !view[key];
    else if (key === "?") {
      by("help").hidden = !by("help").hidden;
      root.querySelector('[data-key="?"]').setAttribute("aria-expanded", String(!by("help").hidden));
    } else return false;
    show();
    return true;
  };

  root.addEventListener("keydown", (event) => {
    // Keys of fields stay theirs.
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
    if (press(event.key)) event.preventDefault();
  });
  for (const button of root.querySelectorAll("[data-key]")) {
    button.addEventListener("click", () => press(button.dataset.key));
  }
  const options = (select, names) => select.append(...names.map((name, index) => new Option(name, index)));
  options(by("patient"), patients.map((patient) => patient.name));
  options(by("method"), data.methods);
  options(by("modality"), data.modalities);
  by("patient").addEventListener("change", (event) => { go(Number(event.target.value), view.slice); show(); });
  by("slice").addEventListener("input", (event) => { go(view.patient, Number(event.target.value)); show(); });
  by("method").addEventListener("change", (event) => { view.method = Number(event.target.value); show(); });
  by("modality").addEventListener("change", (event) => { view.modality = Number(event.target.value); show(); });

  const colours = by("colours").getContext("2d");
  data.scale.forEach(([red, green, blue], level) => {
    colours.fillStyle = `rgb(${red},${green},${blue})`;
    colours.fillRect(level, 0, 1, 10);
  });
  // From the middle of the first patient: the ends of a head show little.
  go(0, Math.floor(patients[0].slices.length / 2));
  show();
})();
