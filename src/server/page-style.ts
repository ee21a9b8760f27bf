// How the page looks: light and dark, from phones to wide screens.
export const STYLE = `
:root{color-scheme:light dark;--ground:#f6f5f2;--card:#fff;--ink:#1d1c1a;--quiet:#62605a;--line:#dcd9d2;--accent:#1f5fbf;--on-accent:#fff;--bad:#a3221b}
@media (prefers-color-scheme:dark){:root{--ground:#161615;--card:#222120;--ink:#eceae4;--quiet:#a8a59c;--line:#3a3835;--accent:#8ab4f8;--on-accent:#10233f;--bad:#ff9d94}}
*{box-sizing:border-box}
[hidden]{display:none!important}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main{max-width:1400px;margin:0 auto;padding:0 clamp(1rem,3vw,2.5rem)}
header{display:flex;flex-wrap:wrap;align-items:baseline;gap:0 1rem;padding-top:1.25rem}
h1{font-size:1.35rem;margin:0;letter-spacing:-.01em}
h2{font-size:1rem;margin:0;overflow-wrap:anywhere}
#about{margin:0;color:var(--quiet);font-size:.875rem}
form[role=search]{position:sticky;top:0;z-index:2;background:var(--ground);padding:.75rem 0}
.field{display:flex;gap:.5rem;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:.35rem;box-shadow:0 1px 3px #0001}
.field:focus-within{border-color:var(--accent);box-shadow:0 0 0 1px var(--accent)}
#query{flex:1;min-width:0;border:0;outline:0;background:none;color:inherit;font:inherit;font-size:1.05rem;padding:.4rem .6rem}
::placeholder{color:var(--quiet);opacity:1}
button{font:inherit;border:0;border-radius:10px;background:var(--accent);color:var(--on-accent);padding:.45rem 1rem;cursor:pointer;font-weight:600}
button.plain,button.idea,#more{background:none;color:inherit;border:1px solid var(--line);font-weight:400}
.field button.plain{border:0;padding:.45rem .6rem}
button:hover{filter:brightness(1.08)}button.plain:hover{background:var(--ground)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
#query:focus-visible{outline:0}
svg{width:1.5rem;height:1.5rem;display:block;fill:none;stroke:currentColor;stroke-width:1.6;stroke-linecap:round;stroke-linejoin:round}
.options{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .75rem;margin-top:.6rem;font-size:.9rem}
#cost,#hint{color:var(--quiet)}#hint{margin-left:auto}
kbd{font:inherit;font-size:.8rem;border:1px solid var(--line);border-radius:5px;padding:0 .35rem;margin-right:.15rem;background:var(--card)}
.switch{display:inline-flex;align-items:center;gap:.5rem;cursor:pointer;min-height:2rem}
.switch input{position:absolute;opacity:0;width:2.4rem;height:1.4rem;margin:0;cursor:pointer}
.switch input+span{width:2.4rem;height:1.4rem;border-radius:1rem;background:var(--quiet);position:relative;transition:background .15s}
.switch input+span::after{content:'';position:absolute;top:.2rem;left:.2rem;width:1rem;height:1rem;border-radius:50%;background:var(--card);transition:left .15s}
.switch input:checked+span{background:var(--accent)}.switch input:checked+span::after{left:1.2rem}
.switch input:focus-visible+span{outline:3px solid var(--accent);outline-offset:2px}
.switch input:disabled~*{opacity:.5}
#count{margin-left:-.25rem}
#sample{display:flex;align-items:center;gap:.75rem;margin-top:.6rem;min-width:0}
#sample img{width:56px;height:56px;object-fit:cover;border-radius:8px}
#caption{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
#error{margin:.5rem 0;padding:.6rem .9rem;border:1px solid var(--bad);border-radius:10px;color:var(--bad)}
#status{margin:.25rem 0 .75rem;color:var(--quiet);font-size:.9rem;min-height:1.5em}
#results{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(min(15rem,42vw),1fr));gap:1rem}
#results.busy{opacity:.5;transition:opacity .2s .15s}
#results li{background:var(--card);border:1px solid var(--line);border-radius:12px;overflow:hidden;display:flex;flex-direction:column;min-width:0}
.open{display:block;padding:0;border-radius:0;background:none;width:100%;aspect-ratio:4/3;color:inherit;position:relative}
.open:focus-visible{outline-offset:-3px}
.open img{position:absolute;inset:0;width:100%;height:100%;object-fit:cover;display:block;background:var(--line)}
.facts{padding:.6rem .75rem .75rem;font-size:.85rem;display:flex;flex-direction:column;gap:.35rem;flex:1}
.id{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;color:var(--quiet)}
.score{display:grid;grid-template-columns:1fr auto;gap:0 .5rem}
.score b{font-variant-numeric:tabular-nums;font-weight:600}
meter{grid-column:1/-1;width:100%;height:6px;border:0;border-radius:3px;background:var(--line);appearance:none;-webkit-appearance:none}
meter::-webkit-meter-bar{height:6px;border:0;border-radius:3px;background:var(--line)}
meter::-webkit-meter-optimum-value{background:var(--accent);border-radius:3px}
meter::-moz-meter-bar{background:var(--accent);border-radius:3px}
.facts button{margin-top:auto;padding:.3rem .6rem;font-size:.85rem}
#more{display:block;margin:1.5rem auto}
#empty{text-align:center;color:var(--quiet);margin:12vh auto;line-height:2.6}
button.idea{line-height:1.5;padding:.3rem .8rem}
main{padding-bottom:3rem}
dialog{border:1px solid var(--line);border-radius:14px;background:var(--card);color:var(--ink);max-width:min(1100px,94vw);padding:1rem}
dialog::backdrop{background:#000a}
#viewer img{display:block;max-width:100%;max-height:72vh;margin:.75rem auto;border-radius:8px}
#scores{margin:0;color:var(--quiet);font-size:.9rem}
.bar{display:flex;gap:.5rem;align-items:center}.bar h2{flex:1;min-width:0}
#tokenform{display:grid;gap:.75rem}#token{font:inherit;padding:.5rem;border:1px solid var(--line);border-radius:8px;background:var(--ground);color:inherit}
#drop{position:fixed;inset:0;z-index:9;display:none;place-items:center;background:var(--accent);color:var(--on-accent);opacity:.93;font-size:1.4rem;font-weight:600;pointer-events:none}
body.dragging #drop{display:grid}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:600px){#hint{display:none}#results{gap:.6rem}.field button[type=submit]{padding:.45rem .8rem}}
@media (prefers-reduced-motion:reduce){*{transition:none!important}}
`;
