"""The look of the report."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dde2e8; --paper: #ffffff; --panel: #f6f8fa; --link: #0b62a8;
  --right: #14884a; --wrong: #c9302c; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ef; --soft: #9aa6b4; --line: #35404c; --paper: #14191f; --panel: #1d242c; --link: #7cbcf2;
    --right: #3ccf7c; --wrong: #ff6b66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 8px 0; }
h2 { font-size: 1.2rem; margin: 44px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 28px 0 6px; }
p { margin: 8px 0; max-width: 78ch; }
a { color: var(--link); }
nav { font-size: .9rem; display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 12px 0; }
.soft, figcaption, .caption { color: var(--soft); font-size: .88rem; }
.verdict { background: var(--panel); border-left: 4px solid var(--link); padding: 10px 16px; margin: 16px 0; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; width: 100%; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .82rem; }
table.words td { text-align: left; white-space: normal; vertical-align: top; }
table.words td:first-child { white-space: nowrap; color: var(--soft); }
figure { margin: 20px 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; padding: 8px; }
.speed, .training { overflow-x: auto; }
.speed img, .training img { min-width: 640px; }
.half { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 0 24px; }
code { font: .86em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; background: var(--panel); padding: 1px 4px; border-radius: 3px; }
.case { display: flex; gap: 20px; padding: 14px 0; border-bottom: 1px solid var(--line); align-items: flex-start; }
.case:last-child { border-bottom: 0; }
.query { flex: none; width: 84px; font-size: .78rem; color: var(--soft); line-height: 1.35; }
.lists { flex: 1; min-width: 0; }
.list { display: flex; gap: 12px; align-items: flex-start; margin-bottom: 10px; }
.who { flex: none; width: 92px; font-size: .84rem; line-height: 1.35; padding-top: 8px; overflow-wrap: anywhere; }
.who b { display: block; }
.strip { display: flex; gap: 6px; overflow-x: auto; padding-bottom: 4px; }
.hit { flex: none; text-align: center; font-size: .72rem; color: var(--soft); line-height: 1.4; }
.photo { display: block; width: 66px; height: 132px; background: var(--panel) center / cover no-repeat;
  border-radius: 3px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.query .photo { width: 80px; height: 160px; }
.right .photo { outline: 3px solid var(--right); outline-offset: -3px; }
.wrong .photo { outline: 3px dashed var(--wrong); outline-offset: -3px; }
.right i { color: var(--right); font-style: normal; font-weight: 700; }
.wrong i { color: var(--wrong); font-style: normal; font-weight: 700; }
.maps { display: flex; flex-wrap: wrap; gap: 16px 26px; }
.maps figure { margin: 8px 0; display: flex; gap: 4px; flex-wrap: wrap; max-width: 100%; }
.maps div { width: 66px; font-size: .7rem; color: var(--soft); text-align: center; line-height: 1.35; }
.maps img { width: 66px; height: 132px; padding: 0; border: 0; border-radius: 3px; display: block; }
@media (max-width: 700px) {
  main { padding: 16px 14px 48px; }
  .case { flex-direction: column; gap: 8px; }
  .query { width: auto; display: flex; gap: 10px; align-items: flex-end; }
  .lists { width: 100%; }
  .list { flex-direction: column; gap: 2px; }
  .who { width: auto; padding: 0; } .who b { display: inline; margin-right: 8px; }
  .strip { max-width: 100%; }
}
@media print {
  :root { --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --panel: #f6f8fa; --right: #14884a;
    --wrong: #c9302c; color-scheme: light; }
  body { font-size: 12px; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .case, .list, figure, tr, .maps figure { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll, .strip, .speed, .training { overflow: visible; }
  .speed img, .training img { min-width: 0; }
  .strip { flex-wrap: wrap; }
  .hit .photo { width: 48px; height: 96px; }
  th, td { padding: 4px 8px; }
}
"""
