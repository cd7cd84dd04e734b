'use strict';
// The memory as a grid of cells, from all of it down to single blocks. One cell shows what holds
// most of its part; zeros only where nothing else is.
lamina.memoryMap = (() => {
  const { el, bytes } = lamina;
  const kBlock = 4096;
  const kCell = 7;
  const kLargestCell = 24;
  const kFewestCells = 256;

  function decode(snapshot) {
    const view = lamina.numbers(snapshot.extents);
    const count = view.byteLength / 10;
    const start = new Float64Array(count + 1);
    const slot = new Uint16Array(count);
    const storage = new Float64Array(count);
    for (let i = 0; i < count; ++i) {
      start[i + 1] = start[i] + view.getUint32(10 * i, true);
      slot[i] = view.getUint16(10 * i + 4, true);
      storage[i] = view.getUint32(10 * i + 6, true);
    }
    return { count, start, slot, storage, blocks: start[count], coarse: snapshot.coarse_blocks };
  }

  // The working set as sorted runs that do not overlap: [first, end, first, end, …].
  function workingSet(base64) {
    if (!base64) return null;
    const view = lamina.numbers(base64);
    const runs = [];
    for (let at = 0; at < view.byteLength; at += 8) {
      const first = view.getUint32(at, true);
      runs.push([first, first + view.getUint32(at + 4, true)]);
    }
    runs.sort((a, b) => a[0] - b[0]);
    const merged = [];
    for (const [first, end] of runs) {
      const last = merged.length - 1;
      if (last > 0 && first <= merged[last]) merged[last] = Math.max(merged[last], end);
      else merged.push(first, end);
    }
    return Float64Array.from(merged);
  }

  // The index of the last element that is not above `value`.
  function find(sorted, value) {
    let low = 0;
    let high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sorted[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function build(name, snapshot) {
    const map = decode(snapshot);
    const set = workingSet(snapshot.working_set);
    const { layers } = snapshot.info;
    const styles = getComputedStyle(document.documentElement);
    const color = (variable) => styles.getPropertyValue(variable).trim();
    const layerColor = (i) => (i === layers.length - 1 ? color('--b')
      : `hsl(${(205 + 47 * i) % 360} 45% ${matchMedia('(prefers-color-scheme: dark)').matches ? 58 : 48}%)`);

    // How each slot (0: zeros) is shown: its category, and the categories' names and colours.
    const kModes = {
      layers: {
        categories: [['zeros', color('--zero')], ...layers.map((layer, i) => [
          `layer ${i}${i === layers.length - 1 ? ' (youngest)' : ''}`, layerColor(i)])],
        of: (slot) => slot,
      },
      'own or shared': {
        categories: [['zeros', color('--zero')], ['in layers of its own', color('--a')],
          ['in layers that others have too', color('--h')]],
        of: (slot) => (slot === 0 ? 0 : layers[slot - 1].link_count > 1 ? 2 : 1),
      },
      'last dirty set': {
        categories: [['zeros', color('--zero')], ['as before', color('--h')],
          ['stored by the youngest layer', color('--b')]],
        of: (slot) => (slot === 0 ? 0 : slot === layers.length ? 2 : 1),
      },
      checksums: {
        categories: [['zeros', color('--zero')], ['has checksums', color('--c')],
          ['served unchecked', color('--e')]],
        of: (slot) => (slot === 0 ? 0 : layers[slot - 1].checksums ? 1 : 2),
      },
    };
    if (set) {
      kModes['working set'] = {
        categories: [['not touched', color('--zero')], ['part of it', color('--h')],
          ['all of it', color('--d')]],
      };
    }

    let mode = 'layers';
    let from = 0;
    let span = map.blocks;
    let cursor = 0; // a cell
    let columns = 1;
    let rows = 1;
    let perCell = 1;

    const canvas = el('canvas', { class: 'map', tabindex: 0, role: 'img', id: 'map',
      'aria-label': 'Map of the memory; arrow keys move, plus and minus zoom',
      'aria-describedby': 'readout' });
    const strip = el('canvas', { class: 'strip', 'aria-hidden': 'true' });
    const readout = el('p', { class: 'readout', id: 'readout', role: 'status' });
    const checked = el('p', { role: 'status', id: 'checked' });
    const legend = el('ul', { class: 'legend' });

    // The category of each of `cells` cells of `size` blocks from block `begin` on.
    function categories(begin, size, cells) {
      const result = new Uint16Array(cells);
      const { of } = kModes[mode];
      if (!of) return touched(begin, size, cells);
      const category = Uint16Array.from({ length: layers.length + 1 }, (_, slot) => of(slot));
      const use = new Float64Array(kModes[mode].categories.length);
      let i = find(map.start, begin);
      for (let cell = 0; cell < cells; ++cell) {
        const low = begin + cell * size;
        const high = Math.min(low + size, map.blocks);
        if (low >= map.blocks) { result[cell] = 65535; continue; }
        let best = 0;
        const seen = [];
        while (i < map.count && map.start[i] < high) {
          const kind = category[map.slot[i]];
          if (kind !== 0) {
            if (use[kind] === 0) seen.push(kind);
            use[kind] += Math.min(high, map.start[i + 1]) - Math.max(low, map.start[i]);
            if (best === 0 || use[kind] > use[best]) best = kind;
          }
          if (map.start[i + 1] > high) break;
          ++i;
        }
        for (const kind of seen) use[kind] = 0;
        result[cell] = best;
      }
      return result;
    }

    function touched(begin, size, cells) {
      const result = new Uint16Array(cells);
      let i = Math.max(0, find(set, begin) & ~1);
      for (let cell = 0; cell < cells; ++cell) {
        const low = begin + cell * size;
        const high = Math.min(low + size, map.blocks);
        if (low >= map.blocks) { result[cell] = 65535; continue; }
        let sum = 0;
        while (i < set.length && set[i] < high) {
          sum += Math.max(0, Math.min(high, set[i + 1]) - Math.max(low, set[i]));
          if (set[i + 1] > high) break;
          i += 2;
        }
        result[cell] = sum === 0 ? 0 : sum >= high - low ? 2 : 1;
      }
      return result;
    }

    function prepare(target) {
      const scale = window.devicePixelRatio || 1;
      const width = target.clientWidth || 600;
      const height = target.clientHeight || 300;
      target.width = Math.round(width * scale);
      target.height = Math.round(height * scale);
      const context = target.getContext('2d');
      context.scale(scale, scale);
      context.clearRect(0, 0, width, height);
      return { context, width, height };
    }

    function paint(context, kinds, perRow, width, height) {
      const names = kModes[mode].categories;
      const byKind = new Map();
      kinds.forEach((kind, cell) => {
        if (kind === 65535) return;
        if (!byKind.has(kind)) byKind.set(kind, []);
        byKind.get(kind).push(cell);
      });
      for (const [kind, cells] of byKind) {
        [, context.fillStyle] = names[kind];
        for (const cell of cells) {
          context.fillRect((cell % perRow) * width, Math.floor(cell / perRow) * height,
            width - (width > 3 ? 1 : 0), height - (height > 3 ? 1 : 0));
        }
      }
      return [...byKind.keys()].sort((a, b) => a - b);
    }

    function draw() {
      const { context, width, height } = prepare(canvas);
      measure(width, height);
      perCell = Math.max(map.coarse, Math.ceil(span / (columns * rows)));
      const cells = Math.min(columns * rows, Math.ceil((map.blocks - from) / perCell));
      cursor = Math.min(cursor, cells - 1);
      const seen = paint(context, categories(from, perCell, cells), columns, width / columns,
        height / rows);
      context.strokeStyle = color('--front');
      context.lineWidth = 2;
      context.strokeRect((cursor % columns) * width / columns - 1,
        Math.floor(cursor / columns) * height / rows - 1, width / columns + 1, height / rows + 1);
      const names = kModes[mode].categories;
      const listed = seen.slice(0, 12);
      legend.replaceChildren(...listed.map((kind) => {
        const swatch = el('span', { class: 'swatch' });
        [, swatch.style.backgroundColor] = names[kind];
        return el('li', null, swatch, names[kind][0]);
      }), seen.length > listed.length ? el('li', null, `and ${seen.length - listed.length} more`) : '');
      drawStrip();
      tell();
    }

    // Cells are as large as the part of the memory allows, when it has few blocks.
    function measure(width, height) {
      const fits = Math.floor(Math.sqrt(width * height / Math.max(1, span / map.coarse)));
      const size = Math.max(kCell, Math.min(kLargestCell, fits));
      columns = Math.max(8, Math.floor(width / size));
      rows = Math.max(4, Math.floor(height / size));
    }

    // All of the memory in one line, with the part that the grid shows.
    function drawStrip() {
      const { context, width, height } = prepare(strip);
      const cells = Math.min(Math.floor(width), map.blocks);
      paint(context, categories(0, map.blocks / cells, cells), cells, width / cells, height);
      context.strokeStyle = color('--front');
      context.lineWidth = 2;
      context.strokeRect(width * from / map.blocks, 1,
        Math.max(3, width * Math.min(1, span / map.blocks)), height - 2);
    }

    const block = () => Math.min(map.blocks - 1, from + cursor * perCell);
    const address = (number) => `0x${(number * kBlock).toString(16)}`;

    function tell() {
      const at = block();
      const end = Math.min(map.blocks, at + perCell);
      const i = find(map.start, at);
      const slot = map.slot[Math.min(i, map.count - 1)];
      const parts = [`${address(at)} to ${address(end)} (${bytes((end - at) * kBlock)})`];
      if (slot === 0) {
        parts.push('begins with zeros, which are not stored');
      } else {
        const layer = layers[slot - 1];
        const place = (map.storage[i] + at - map.start[i]) * kBlock;
        parts.push(`begins in layer ${slot - 1} of ${layers.length} (${layer.build_id.slice(0, 8)})${
          map.coarse > 1 ? '' : ` at byte ${place} of its data`}`);
        parts.push(layer.checksums ? 'each block has a checksum' : 'no checksums: served unchecked');
        if (slot === layers.length) parts.push('stored by the last pause or merge');
        if (layer.link_count > 1) parts.push('others have this layer too');
      }
      if (set) {
        const run = find(set, at) & ~1;
        const inside = set.length > 0 && set[run] <= at && at < set[run + 1];
        parts.push(inside ? 'in the working set' : 'not in the working set');
      }
      readout.textContent = parts.join('; ');
    }

    function zoom(factor) {
      const center = block();
      span = Math.max(Math.min(map.blocks, span * factor),
        Math.min(map.blocks, kFewestCells * map.coarse));
      measure(canvas.clientWidth || 600, canvas.clientHeight || 300);
      from = Math.max(0, Math.min(map.blocks - span, Math.floor(center - span / 2)));
      perCell = Math.max(map.coarse, Math.ceil(span / (columns * rows)));
      if (map.coarse > 1) from = Math.floor(from / map.coarse) * map.coarse;
      cursor = Math.max(0, Math.floor((center - from) / perCell));
      draw();
    }
    function move(cells) {
      const total = Math.ceil(map.blocks / perCell);
      const shown = Math.min(columns * rows, Math.ceil((map.blocks - from) / perCell));
      let to = cursor + cells;
      if (to < 0 && from > 0) {
        from = Math.max(0, from - columns * perCell * Math.ceil(rows / 2));
        to = Math.max(0, Math.floor((block() - from) / perCell));
      } else if (to >= shown && from / perCell + shown < total) {
        const step = Math.min(columns * perCell * Math.ceil(rows / 2),
          Math.max(0, map.blocks - span - from));
        from += step;
        to -= Math.floor(step / perCell);
      }
      cursor = Math.max(0, Math.min(columns * rows - 1, to));
      checked.textContent = '';
      draw();
    }
    async function check() {
      const at = block();
      checked.textContent = `Reading the block at ${address(at)} …`;
      try {
        const result = await lamina.data.block(name, at * kBlock);
        const texts = { correct: 'is correct: it has the bytes that were stored',
          unchecked: 'was read; its layer has no checksums', corrupt: 'is WRONG' };
        checked.textContent = `The block at ${address(at)} ${texts[result.state]}${
          result.is_zero ? ' (all zeros)' : ''}${result.message ? `: ${lamina.visible(result.message)}` : ''}`;
      } catch (error) {
        checked.textContent = lamina.visible(error.message);
      }
    }
    canvas.addEventListener('keydown', (event) => {
      const keys = { ArrowRight: () => move(1), ArrowLeft: () => move(-1),
        ArrowDown: () => move(columns), ArrowUp: () => move(-columns),
        '+': () => zoom(0.25), '=': () => zoom(0.25), '-': () => zoom(4), 0: () => zoom(Infinity),
        Home: () => move(-cursor), Enter: () => (lamina.report ? null : check()) };
      if (!(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    const cellAt = (event) => Math.min(columns - 1, Math.floor(event.offsetX / canvas.clientWidth * columns))
      + columns * Math.min(rows - 1, Math.floor(event.offsetY / canvas.clientHeight * rows));
    canvas.addEventListener('pointermove', (event) => {
      const cell = cellAt(event);
      if (cell !== cursor && from + cell * perCell < map.blocks) { cursor = cell; tell(); }
    });
    canvas.addEventListener('pointerdown', () => draw());
    canvas.addEventListener('dblclick', () => zoom(0.25));
    strip.addEventListener('click', (event) => {
      const center = event.offsetX / strip.clientWidth * map.blocks;
      from = Math.max(0, Math.min(map.blocks - span, Math.floor(center - span / 2)));
      cursor = 0;
      draw();
    });
    const button = (label, action, id) => el('button', { type: 'button', click: action, id }, label);
    const select = el('select', { id: 'map-mode', change: () => { mode = select.value; draw(); } },
      Object.keys(kModes).map((word) => el('option', { value: word }, word)));
    const nodes = [
      el('div', { class: 'tools' }, el('label', null, 'Show', select),
        button('Zoom in', () => zoom(0.25), 'zoom-in'), button('Zoom out', () => zoom(4), 'zoom-out'),
        button('All', () => zoom(Infinity), 'zoom-all'),
        lamina.report ? null : button('Check this block', check, 'check')),
      strip, canvas, legend, readout, checked,
      set ? null : el('p', { class: 'quiet' }, 'No working set is recorded: a resume with --record makes one.')];
    new ResizeObserver(() => draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => location.reload());
    return { nodes, map, set };
  }

  return { build, decode, workingSet, find };
})();
