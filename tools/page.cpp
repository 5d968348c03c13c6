#include "tools/page.h"

#include <nlohmann/json.hpp>

#include "tools/command.h"

namespace tools {
namespace {

// Curves (--c0 …) in colours that those who do not see red or green tell apart (M. Okabe, K. Ito, "Color universal
// design", 2008), darkened or lightened for the page; each has a dash of its own as well.
constexpr const char* style = R"css(
:root { color-scheme: light dark; --back: #fff; --card: #f5f6f8; --text: #1b1e23; --faint: #5a6270; --line: #dfe2e8;
  --c0: #0072b2; --c1: #c95000; --c2: #00835f; --c3: #a8407f; --c4: #9a6f00; --c5: #2a8cc4; --c6: #7a4b1e; --c7: #555b66;
  --right: 0,114,178; --wrong: 201,80,0; }
@media (prefers-color-scheme: dark) { :root { --back: #14161a; --card: #1d2026; --text: #e8eaee; --faint: #a0a7b4;
  --line: #343943; --c0: #5ab5ec; --c1: #f28f54; --c2: #3cc79b; --c3: #e39bc9; --c4: #e6b93c; --c5: #a5d6f7; --c6: #cda077;
  --c7: #b8bcc4; --right: 90,181,236; --wrong: 242,143,84; } }
@media print { :root { color-scheme: light; --back: #fff; --card: #f5f6f8; --text: #000; --faint: #444; --line: #ccc;
  --c0: #0072b2; --c1: #c95000; --c2: #00835f; --c3: #a8407f; --c4: #9a6f00; --c5: #2a8cc4; --c6: #7a4b1e; --c7: #555b66;
  --right: 0,114,178; --wrong: 201,80,0; } body { margin: 0; max-width: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } figure, .facts, table.confusion { break-inside: avoid; }
  h2 { break-after: avoid; } .tip, .hint { display: none; } }
* { box-sizing: border-box; }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  max-width: 1120px; margin: 2.5rem auto 4rem; padding: 0 16px; overflow-wrap: break-word; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0 .8rem; } .sub, .hint, figcaption, th, caption small { color: var(--faint); } .hint { font-size: .87rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 1.4rem 0; }
.facts > div { background: var(--card); border-radius: 8px; padding: .7rem .9rem; min-width: 0; }
.facts b { display: block; white-space: nowrap; font-size: 1.3rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.facts span { color: var(--faint); font-size: .87rem; line-height: 1.35; display: block; }
.facts .first b { color: var(--c0); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 1.6rem 2rem; }
figure { margin: 0; min-width: 0; } .charts figure { display: flex; flex-direction: column; justify-content: space-between; } figcaption { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; align-items: baseline; }
figcaption b { color: var(--text); font-weight: 600; } .key { white-space: nowrap; max-width: 100%; overflow: hidden; text-overflow: ellipsis; }
svg.sample { width: 30px; height: 10px; margin-right: .4em; vertical-align: middle; }
.plot { position: relative; } .plot svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.plot svg:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; border-radius: 4px; } .plot svg:focus { outline-offset: 2px; }
svg text { font-size: 11px; font-family: inherit; fill: var(--faint); font-variant-numeric: tabular-nums; }
@media (max-width: 480px) { .plot svg.curves text, .plot svg.roofline text { font-size: 14px; } body { margin-top: 1.2rem; } h1 { font-size: 1.4rem; } }
.grid { stroke: var(--line); } .axis { stroke: var(--faint); fill: none; } .best { stroke: var(--faint); stroke-dasharray: 1 4; stroke-linecap: round; }
.curve { fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; stroke: var(--c); }
.points, .dot { fill: var(--c); } .dot { stroke: var(--back); stroke-width: 2; } .cursor { stroke: var(--faint); } .dot, .cursor { visibility: hidden; }
.on .cursor, .on .dot.at { visibility: visible; }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); }
.s4 { --c: var(--c4); } .s5 { --c: var(--c5); } .s6 { --c: var(--c6); } .s7 { --c: var(--c7); }
.s1 .curve { stroke-dasharray: 7 5; } .s2 .curve { stroke-dasharray: 1.5 5; } .s3 .curve { stroke-dasharray: 12 5 1.5 5; } .s4 .curve { stroke-dasharray: 14 6; }
.s5 .curve { stroke-dasharray: 4 4; } .s6 .curve { stroke-dasharray: 12 4 1.5 4 1.5 4; } .s7 .curve { stroke-dasharray: 3 7; }
.tip { position: absolute; top: 8px; background: var(--text); color: var(--back); border-radius: 6px; padding: .3rem .6rem; font-size: .82rem;
  line-height: 1.4; pointer-events: none; visibility: hidden; max-width: 70%; width: max-content; z-index: 1; font-variant-numeric: tabular-nums; white-space: pre-line; }
.on .tip { visibility: visible; }
.scroll { overflow-x: auto; padding-bottom: 4px; } .scroll:focus-visible { outline: 2px solid var(--c0); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th { font-weight: 500; }
th, td { text-align: right; padding: .22rem 1rem .22rem 0; border-bottom: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
thead th { white-space: normal; } thead th { vertical-align: bottom; } tr.is-best td, tr.is-best th { font-weight: 700; color: var(--text); }
th:first-child, .left td, .left th, caption { text-align: left; } caption { font-weight: 600; padding-bottom: .3rem; } .left td { overflow-wrap: anywhere; white-space: normal; }
.config { columns: 340px 3; column-gap: 2.5rem; } .config table { width: 100%; break-inside: avoid; margin-bottom: 1.4rem; } .config th { width: 45%; }
details > summary { cursor: pointer; color: var(--faint); margin-bottom: .5rem; }
table.confusion { border-collapse: separate; border-spacing: 2px; font-size: .87rem; }
.confusion th { font-weight: 400; border: 0; padding: .1rem .35rem; white-space: nowrap; max-width: 9rem; overflow: hidden; text-overflow: ellipsis; }
.confusion tbody th { text-align: right; } .confusion thead th { text-align: center; vertical-align: bottom; } .confusion thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 9rem; overflow: hidden; }
.confusion td { border: 0; border-radius: 3px; padding: .3rem .35rem; min-width: 2.9rem; text-align: center; background: rgba(var(--wrong), var(--v)); }
.confusion td.diagonal { background: rgba(var(--right), var(--v)); font-weight: 700; outline: 1px solid var(--text); outline-offset: -1px; } .confusion td.full { color: var(--back); }
.confusion td.none { color: var(--faint); background: var(--card); font-weight: 400; }
.heat .plot { min-width: 700px; max-width: 1000px; } .heat svg text { font-size: 7.4px; } .heat .r { fill: rgb(var(--right)); } .heat .w { fill: rgb(var(--wrong)); }
.heat .field { fill: var(--card); } .heat .cell { fill: none; stroke: var(--text); visibility: hidden; } .heat .on .cell { visibility: visible; }
.side { display: flex; flex-wrap: wrap; gap: .5rem 3rem; align-items: flex-start; } .side > * { min-width: 0; max-width: 100%; } .side h3 { margin-top: .2rem; }
.classes { columns: 330px 3; column-gap: 2.2rem; } .classes > div { break-inside: avoid; display: grid; grid-template-columns: 7.2rem 1fr 4.1rem; gap: .7rem; align-items: center; font-size: .92rem; line-height: 1.75; }
.classes span:first-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; } .classes span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.meter { background: var(--card); border-radius: 3px; height: .72rem; overflow: hidden; } .meter i { display: block; height: 100%; background: var(--c0); border-radius: 3px; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 14px 12px; }
.examples figure { font-size: .82rem; line-height: 1.35; break-inside: avoid; } .examples img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated;
  background: var(--card); border: 3px solid rgb(var(--right)); border-radius: 5px; margin-bottom: .25rem; }
.examples figure div { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-variant-numeric: tabular-nums; } .examples b { font-weight: 650; } .examples .wrong img { border: 3px dashed rgb(var(--wrong)); }
.sign { display: inline-block; font-weight: 700; color: rgb(var(--right)); width: 1.1em; } .wrong .sign { color: rgb(var(--wrong)); }
.filters { display: grid; grid-template-columns: repeat(auto-fill, minmax(52px, 1fr)); gap: 8px; } .filters svg { display: block; width: 100%; border-radius: 4px; }
.charts.top figure { justify-content: flex-start; } .roof { fill: none; stroke: var(--text); stroke-width: 1.6; } .spot { fill: var(--c); stroke: var(--back); stroke-width: .6; }
.ladder > div { break-inside: avoid; display: grid; grid-template-columns: 7.6rem 1fr 8.4rem; gap: 0 .7rem; align-items: center; font-size: .92rem; margin-bottom: .45rem; }
.ladder span { min-width: 0; overflow-wrap: anywhere; } .ladder svg.sample { width: 10px; } .ladder small { display: block; color: var(--faint); } .ladder > div > span:last-of-type { text-align: right; font-variant-numeric: tabular-nums; line-height: 1.25; }
.ladder .meter i { background: var(--c); } .ladder p { grid-column: 1 / -1; margin: 0; }
footer { margin-top: 3rem; color: var(--faint); font-size: .85rem; border-top: 1px solid var(--line); padding-top: .7rem; }
)css";

// Values under the pointer or finger, and with the arrow keys. Text goes in as text, never as HTML.
constexpr const char* script = R"js(
'use strict';
const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
function place(tip, share) {
  tip.style.left = share * 100 + '%';
  tip.style.transform = share > .5 ? 'translateX(calc(-100% - 10px))' : 'translateX(10px)';
}
// Calls show(x, y) with a place in the drawing's own units, and move(key) for arrow keys.
function listen(plot, svg, show, move, first) {
  const hide = () => plot.classList.remove('on');
  const at = event => {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    show((event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height);
  };
  svg.addEventListener('pointermove', at);
  svg.addEventListener('pointerdown', at);
  svg.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') hide(); });
  svg.addEventListener('blur', hide);
  svg.addEventListener('focus', () => { if (svg.matches(':focus-visible')) first(); });
  svg.addEventListener('keydown', event => {
    if (event.key === 'Escape') return hide();
    if (move(event.key)) event.preventDefault();
  });
}
for (const plot of document.querySelectorAll('[data-chart]')) {
  const chart = JSON.parse(plot.dataset.chart), svg = plot.querySelector('svg'), tip = plot.querySelector('.tip');
  const line = plot.querySelector('.cursor'), dots = [...plot.querySelectorAll('.dot')], last = chart.x.length - 1;
  let now = last;
  const show = i => {
    now = clamp(i, 0, last);
    const x = chart.x[now];
    line.setAttribute('x1', x), line.setAttribute('x2', x);
    let text = 'epoch ' + chart.epochs[now];
    chart.curves.forEach((curve, k) => {
      const there = curve.y[now] !== null;
      dots[k].classList.toggle('at', there);
      if (!there) return;
      dots[k].setAttribute('cx', x), dots[k].setAttribute('cy', curve.y[now]);
      text += '\n' + curve.name + ' ' + curve.text[now];
    });
    tip.textContent = text;
    place(tip, x / svg.viewBox.baseVal.width);
    plot.classList.add('on');
  };
  const nearest = x => chart.x.reduce((best, v, i) => Math.abs(v - x) < Math.abs(chart.x[best] - x) ? i : best, 0);
  const moves = { ArrowLeft: () => now - 1, ArrowRight: () => now + 1, Home: () => 0, End: () => last };
  listen(plot, svg, x => show(nearest(x)), key => key in moves && (show(moves[key]()), true), () => show(now));
}
for (const plot of document.querySelectorAll('[data-confusion]')) {
  const { names, counts, left, top, size } = JSON.parse(plot.dataset.confusion), n = names.length;
  const svg = plot.querySelector('svg'), tip = plot.querySelector('.tip'), cell = plot.querySelector('.cell');
  let row = 0, column = 0;
  const show = (r, c) => {
    row = clamp(r, 0, n - 1), column = clamp(c, 0, n - 1);
    cell.setAttribute('x', left + column * size), cell.setAttribute('y', top + row * size);
    const all = counts[row].reduce((a, b) => a + b, 0), k = counts[row][column];
    tip.textContent = 'true: ' + names[row] + '\npredicted: ' + names[column] + '\n' + k + ' of ' + all +
        (all > 0 ? ' (' + (100 * k / all).toFixed(1) + ' %)' : '');
    tip.style.top = 'calc(' + (top + row * size) / svg.viewBox.baseVal.height * 100 + '% + 12px)';
    place(tip, (left + (column + .5) * size) / svg.viewBox.baseVal.width);
    plot.classList.add('on');
  };
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  listen(plot, svg, (x, y) => show(Math.floor((y - top) / size), Math.floor((x - left) / size)),
      key => key in moves && (show(row + moves[key][0], column + moves[key][1]), true), () => show(row, column));
}
addEventListener('beforeprint', () => { for (const d of document.querySelectorAll('details')) d.open = true; });
)js";

}  // namespace

std::string escaped(const std::string& text) {
  // The JSON writer repairs what is no UTF-8; read back, it is plain text again.
  const auto repaired = nlohmann::json::parse(to_text(text)).get<std::string>();
  std::string out;
  for (const char c : repaired) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if (c == '\0') {
      out += "\xef\xbf\xbd";
    } else {
      out += c;
    }
  }
  return out;
}

std::string page(const std::string& title, const std::string& body) {
  // The policy forbids the browser every request, whatever the page holds.
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
  html += escaped(title);
  html += "</title>\n<style>";
  html += style;
  html += "</style></head><body>\n";
  html += body;
  html += "<script>";
  html += script;
  html += "</script>\n</body></html>\n";
  return html;
}

}  // namespace tools
