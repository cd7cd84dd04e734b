'use strict';
// Pictures that need no library: stacked bars, a step chart, a histogram.
lamina.charts = (() => {
  const { el } = lamina;

  // parts: [{label, value, fill}]. The bar's text says the same as its colours.
  function bar(parts, total, show) {
    const label = parts.filter((part) => part.value > 0)
      .map((part) => `${part.label} ${show(part.value)}`).join(', ');
    const svg = el('svg', { class: 'bar', viewBox: '0 0 1000 10', preserveAspectRatio: 'none',
      role: 'img', 'aria-label': label || 'nothing' });
    let at = 0;
    for (const part of parts) {
      const width = total > 0 ? 1000 * part.value / total : 0;
      if (width <= 0) continue;
      svg.append(el('rect', { x: at, y: 0, width, height: 10, class: part.fill },
        el('title', null, `${part.label} ${show(part.value)}`)));
      at += width;
    }
    return svg;
  }

  function legend(parts) {
    return el('ul', { class: 'legend' }, parts.map((part) => el('li', null,
      el('span', { class: `swatch ${part.fill}` }), part.label)));
  }

  // points: [x, y], by x. Every step begins at its point.
  function steps(points, label, showX, showY) {
    const left = points.length ? points[0][0] : 0;
    const right = points.length ? points[points.length - 1][0] : 1;
    const most = points.reduce((max, point) => Math.max(max, point[1]), 0) || 1;
    const x = (value) => (right > left ? 1000 * (value - left) / (right - left) : 500);
    const y = (value) => 100 - 88 * value / most;
    // No more steps than a screen has columns.
    const stride = Math.max(1, Math.floor(points.length / 1000));
    let path = '';
    points.forEach((point, i) => {
      if (i % stride !== 0 && i !== points.length - 1) return;
      path += path ? `H${x(point[0]).toFixed(1)}V${y(point[1]).toFixed(1)}`
        : `M0 ${y(point[1]).toFixed(1)}`;
    });
    if (path) path += 'H1000';
    return el('figure', { class: 'plot' },
      el('svg', { class: 'chart', viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img',
        'aria-label': `${label}: ${showY(most)} at most` }, el('path', { d: path })),
      el('figcaption', { class: 'quiet' }, points.length
        ? `${showX(left)} to ${showX(right)}; at most ${showY(most)}` : 'nothing to show'));
  }

  // buckets: [[label, count], …].
  function histogram(buckets, label) {
    const most = buckets.reduce((max, bucket) => Math.max(max, bucket[1]), 0) || 1;
    const width = 1000 / Math.max(1, buckets.length);
    return el('svg', { class: 'chart', viewBox: '0 0 1000 100', preserveAspectRatio: 'none',
      role: 'img', 'aria-label': label },
    buckets.map(([name, count], i) => el('rect', { x: i * width + 1, y: 100 - 95 * count / most,
      width: Math.max(1, width - 2), height: 95 * count / most, class: 'fa' },
    el('title', null, `${name}: ${count}`))));
  }

  return { bar, legend, steps, histogram };
})();
