// Keeps the page up to date: each second it is fetched again, and what has changed is changed in place, so that a
// selection, the focus and the place in a table stay what they are. A click on a heading sorts without loading the page.
'use strict';
(() => {
  const EVERY = 1000;
  const PATIENCE = 10000;
  const lost = document.getElementById('lost');
  let timer = 0;
  let wanted = 0;

  // Makes `old` like `now`, which is another element of the same name.
  function patch(old, now) {
    for (const { name } of [...old.attributes]) {
      if (!now.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    if (now.querySelector('[data-id]') && now.localName === 'tbody') keep(old, now);
    let child = old.firstChild;
    for (const other of [...now.childNodes]) {
      const next = child && child.nextSibling;
      if (!child) {
        old.append(other);
      } else if (child.nodeType !== other.nodeType || child.nodeName !== other.nodeName) {
        child.replaceWith(other);
      } else if (child.nodeType === Node.ELEMENT_NODE) {
        patch(child, other);
      } else if (child.data !== other.data) {
        child.data = other.data;
      }
      child = next;
    }
    while (child) {
      const next = child.nextSibling;
      child.remove();
      child = next;
    }
  }

  // Brings the rows that stay into the order that they are to have, so that each is made like itself.
  function keep(old, now) {
    const rows = new Map([...old.children].map((row) => [row.dataset.id, row]));
    const ids = new Set([...now.children].map((row) => row.dataset.id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) row.remove();
    }
    let place = old.firstChild;
    for (const row of now.children) {
      let known = rows.get(row.dataset.id);
      if (!known) {
        known = document.createElement('tr');
        old.insertBefore(known, place);
      } else if (known === place) {
        place = place.nextSibling;
      } else {
        old.insertBefore(known, place);
      }
    }
  }

  async function refresh() {
    clearTimeout(timer);
    const begun = Date.now();
    const number = ++wanted;
    if (!document.hidden) {
      try {
        const request = { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) };
        const response = await fetch(location.pathname + location.search, request);
        if (!response.ok) throw new Error(response.status);
        const page = new DOMParser().parseFromString(await response.text(), 'text/html');
        if (number !== wanted) return;
        patch(document.querySelector('main'), page.querySelector('main'));
        lost.hidden = true;
        document.documentElement.dataset.live = '1';
      } catch {
        if (number !== wanted) return;
        lost.hidden = false;
        document.documentElement.dataset.live = '0';
      }
    }
    timer = setTimeout(refresh, Math.max(0, EVERY - (Date.now() - begun)));
  }

  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="?"]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, '', link.getAttribute('href'));
    refresh();
  });
  addEventListener('popstate', refresh);
  document.addEventListener('visibilitychange', () => document.hidden || refresh());
  timer = setTimeout(refresh, EVERY);
})();
