"""How the page looks: light and dark by the reader's own setting, and on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fbfaf8;--card:#fff;--ink:#1d1f23;--soft:#666b74;--edge:#e4e1dc;--grid:#ece9e4;
--first:#0072b2;--second:#d55e00;--good:#00744f;--bad:#b3261e;--wait:#8a5a00}
@media(prefers-color-scheme:dark){:root{--back:#14161a;--card:#1c1f25;--ink:#e8e6e3;--soft:#a0a5ae;--edge:#2c3038;
--grid:#282c34;--first:#56b4e9;--second:#f0883e;--good:#4cc38a;--bad:#ff7b72;--wait:#e3b341}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1180px;margin:0 auto;padding:36px 24px 64px}
header{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px;margin-bottom:22px}
h1{font-size:27px;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
header p{flex-basis:100%;margin:0;color:var(--soft)}
h2{font-size:17px;margin:34px 0 10px}
.badge{border:1px solid currentColor;border-radius:99px;padding:1px 11px;font-size:13px;color:var(--soft)}
.badge.finished{color:var(--good)}.badge.failed,.badge.killed{color:var(--bad)}
.badge.interrupted,.badge.running{color:var(--wait)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:12px;margin-bottom:16px}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 14px}
.tile h2{margin:0;font-size:12.5px;font-weight:500;color:var(--soft)}
.tile strong{display:block;font-size:23px;line-height:1.35;font-weight:640;font-variant-numeric:tabular-nums}
.tile small{color:var(--soft);font-size:12px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:16px}
figure{margin:0}
.chart{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:14px 14px 8px}
.chart>svg{display:block;width:100%;height:auto}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 8px;font-weight:600;font-size:14px;margin:0 2px 6px}
figcaption small{color:var(--soft);font-weight:400}
.legend{margin-left:auto;display:flex;flex-wrap:wrap;gap:2px 14px;font-weight:400;font-size:12.5px;color:var(--soft)}
.legend span{display:inline-flex;align-items:center;gap:6px}.legend svg{width:22px;height:8px}
.empty{color:var(--soft);text-align:center;padding:60px 0;margin:0}
path{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.line-first{stroke:var(--first)}.line-second{stroke:var(--second);stroke-dasharray:7 4}
.line-faint{stroke:var(--first);opacity:.38;stroke-width:1.1}
.dot-first{fill:var(--first)}.dot-second{fill:var(--second)}.dot-faint{fill:var(--first);opacity:.4}
.grid{stroke:var(--grid)}.tick{fill:var(--soft);font:11.5px system-ui,sans-serif}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.55 ui-monospace,Menlo,Consolas,monospace}
.sample,dd pre{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:12px 15px;margin:0 0 10px}
.sample figcaption{color:var(--soft);font-weight:500;font-size:12.5px;margin:0 0 4px}
details{margin:10px 0}summary{cursor:pointer;color:var(--soft);padding:4px 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--edge);border-radius:10px;margin:6px 0}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:left;padding:6px 14px;border-bottom:1px solid var(--grid);vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft)}tr:last-child td{border-bottom:0}
td:last-child{color:var(--soft)}
.figures td,.figures th{text-align:right;font-variant-numeric:tabular-nums;color:inherit}
dt{font-weight:600;font-size:13.5px;margin:10px 0 4px}dd{margin:0}
@media print{body{background:#fff}.chart,.tile,.sample{break-inside:avoid}}
"""
