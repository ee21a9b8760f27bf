// The style sheet of every page that this room writes: light and dark, 400 to 1600 pixels, print. No font, no script, no
// picture from elsewhere. Contrast of text is at least 4.5 to 1 in both schemes.
export const STYLE = `
:root{color-scheme:light dark;--bg:#fff;--fg:#1d2330;--muted:#586174;--line:#d9dee7;--soft:#f4f6f9;--a:#1f639f;--b:#b04a10;--c:#6a4bb5;--d:#1c7449;--e:#a3195b;--ok:#17713f;--bad:#b42318}
@media screen and (prefers-color-scheme:dark){:root{--bg:#12151c;--fg:#e6e9ef;--muted:#a3adbd;--line:#333b49;--soft:#1a1f29;--a:#6cb2f5;--b:#f2955a;--c:#b79df7;--d:#4cc38a;--e:#f58abb;--ok:#4cc38a;--bad:#ff8a80}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;background:var(--bg);color:var(--fg);max-width:76rem;margin:0 auto;padding:1.5rem 1rem 4rem;overflow-wrap:break-word}
h1{font-size:1.7rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.25rem;margin:2.5rem 0 .6rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}
p{max-width:62rem}a{color:var(--a)}.muted,small{color:var(--muted);fill:var(--muted)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,13rem),1fr));gap:1rem;margin:1.2rem 0}
.card{border:1px solid var(--line);border-radius:.6rem;padding:.7rem 1rem}.card b{font-size:1.9rem;line-height:1.3;display:block}.card small{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1.5rem 1.2rem}
figure{margin:0}figcaption{font-size:.95rem}
svg{display:block;width:100%;max-width:34rem;font:11px system-ui,sans-serif;fill:var(--fg)}.grid{stroke:var(--line);fill:none}.mark{stroke:var(--muted);stroke-dasharray:3 3;fill:none}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
.s0{stroke:var(--a)}.s1{stroke:var(--b);stroke-dasharray:6 3}.s2{stroke:var(--c);stroke-dasharray:2 3}.s3{stroke:var(--d)}.s4{stroke:var(--e);stroke-dasharray:8 3 2 3}
.d1{stroke-dasharray:12 3 1 3}.d2{stroke-dasharray:1 4}.d3{stroke-dasharray:16 6}.legend{list-style:none;margin:.2rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.8rem}.legend li{min-width:0;overflow-wrap:anywhere}.legend svg{display:inline-block;width:30px;margin-right:.4rem}
.l0{fill:var(--a)}.l1{fill:var(--b)}.l2{fill:var(--c)}.l3{fill:var(--d)}.l4{fill:var(--e)}.halo{paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round;font-weight:600}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.6rem}.wide:focus-visible{outline:2px solid var(--a)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:.35rem .7rem;text-align:right;border-top:1px solid var(--line);white-space:nowrap}
thead th{border-top:0;font-weight:600;color:var(--muted);white-space:normal}th[scope=row]{text-align:left;font-weight:400}td b{font-weight:650}
thead td{border-top:0}.charts>*{min-width:0}.charts td,.charts th{white-space:normal;padding:.35rem .55rem}.whole{white-space:nowrap}
caption{text-align:left;padding:.6rem .8rem;color:var(--muted)}
.query{border-top:1px solid var(--line);padding:.8rem 0}.query>p{margin:0 0 .5rem}
.found{display:grid;grid-template-columns:repeat(5,minmax(0,9.5rem));gap:.6rem;list-style:none;margin:0;padding:0}
.found img,.found .gone,.asked img,.asked .gone{width:100%;aspect-ratio:1;object-fit:contain;background:var(--soft);border:3px solid transparent;border-radius:.35rem;display:grid;place-items:center;font-size:.7rem;color:var(--muted);padding:0;overflow:hidden;text-align:center}
.gone bdi{min-width:0;max-width:100%;overflow-wrap:anywhere}details{margin:.6rem 0}
.found .right img,.found .right .gone{border-color:var(--ok)}.found li>span,.found small{display:block;font-size:.78rem;line-height:1.35}
.asked{display:grid;grid-template-columns:minmax(6rem,9.5rem) minmax(0,1fr);gap:1rem;align-items:start}.asked ol{margin:0;padding-left:1.4rem}.asked li{margin:.15rem 0}
.right>.mark-right,.mark-right{color:var(--ok);font-weight:600}.bad{color:var(--bad);font-weight:600}.good{color:var(--ok);font-weight:600}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,1fr);gap:.25rem 1rem}dt{color:var(--muted)}dd{margin:0;min-width:0}
code,pre{font:13px/1.5 ui-monospace,monospace;background:var(--soft);border-radius:.3rem;padding:.1rem .35rem}pre{padding:.8rem;overflow-x:auto}pre code{padding:0}
summary{cursor:pointer}summary:focus-visible,a:focus-visible{outline:2px solid var(--a);outline-offset:2px}
@media(max-width:40rem){th[scope=row]{white-space:normal;min-width:7rem}th,td{padding:.35rem .5rem}body{padding:1rem .8rem 3rem}.found{grid-template-columns:repeat(3,minmax(0,1fr))}.asked{grid-template-columns:5.5rem minmax(0,1fr);gap:.7rem}dl{grid-template-columns:minmax(0,1fr)}dd{margin-bottom:.4rem}}
@media print{:root{color-scheme:light}details::details-content{content-visibility:visible;display:block}td,th{white-space:normal;padding:.25rem .4rem}body{max-width:none;padding:0;font-size:11pt}.query,figure,.card,table{break-inside:avoid}details{display:block}h2{break-after:avoid}.wide{overflow:visible}}
`;
