'use strict';
// Which view is shown: the part of the address after '#'.
(() => {
  const main = document.getElementById('main');
  const views = {
    store: () => lamina.store.show(main),
    snapshot: (name) => lamina.snapshot.show(main, name),
    vms: () => lamina.live.showVms(main),
    remote: () => lamina.live.showRemote(main),
    events: () => lamina.live.showEvents(main),
  };
  let shown = 0;

  async function show(isFirst) {
    const hash = location.hash || (lamina.report && lamina.report.only
      ? `#/snapshot/${encodeURIComponent(lamina.report.only)}` : '#/store');
    const [, view, rest] = /^#\/(\w+)(?:\/(.*))?$/.exec(hash) || [];
    if (!(view in views)) return; // the link that skips to the contents
    const number = ++shown;
    lamina.live.leave();
    for (const link of document.querySelectorAll('nav a')) {
      const is = link.dataset.view === view || (view === 'snapshot' && link.dataset.view === 'store');
      if (is) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    document.title = `${view === 'snapshot' ? lamina.visible(decodeURIComponent(rest || '')) : view} - lamina`;
    const started = performance.now();
    try {
      await views[view](decodeURIComponent(rest || ''));
    } catch (error) {
      if (number !== shown) return;
      main.replaceChildren(lamina.el('p', { class: 'bad', role: 'alert' }, lamina.visible(error.message)),
        lamina.el('p', null, lamina.el('a', { href: '#/store' }, 'All snapshots')));
    }
    main.dataset.shown = view;
    main.dataset.ms = (performance.now() - started).toFixed(1);
    main.dataset.at = performance.now().toFixed(1);
    if (!isFirst) { window.scrollTo(0, 0); main.focus({ preventScroll: true }); }
  }

  if (lamina.report) document.querySelectorAll('.live-only').forEach((node) => node.remove());
  if (lamina.report && !lamina.report.store) document.querySelector('nav').remove();
  window.addEventListener('hashchange', () => show(false));
  // The frame of the page is painted before its contents are made. A page that is not in sight has no frames.
  const painted = new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done, 0));
    setTimeout(done, 250);
  });
  painted.then(() => show(true)).then(() => lamina.live.begin());
})();
