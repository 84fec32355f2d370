//! The page's own style sheet: light and dark by the reader's preference, and on paper.

/// Colours are variables, so that plots follow the theme too.
pub(super) const STYLE: &str = r"
:root { color-scheme: light dark; --bg: #fdfdfc; --fg: #1c1d21; --soft: #5d6169; --rule: #dcdee3; --card: #f3f4f6;
  --good: #12703c; --bad: #b3261e; --unsure: #8a5a00; --band: #d9770633;
  --s0: #0b62a4; --s1: #c2410c; --s2: #12703c; --s3: #7c3aed; --s4: #9d174d; --s5: #4b5563; }
@media (prefers-color-scheme: dark) { :root { --bg: #15171b; --fg: #e6e7ea; --soft: #a1a6b0; --rule: #33373f; --card: #1e2127;
  --good: #5fd38d; --bad: #ff8a80; --unsure: #f2c14e; --band: #f59e0b33;
  --s0: #6cb6ff; --s1: #ff9d5c; --s2: #5fd38d; --s3: #b794ff; --s4: #ff8fb8; --s5: #a1a6b0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--bg); color: var(--fg);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--rule); padding-bottom: .2rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); } .unsure { color: var(--unsure); }
.verdict { font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.name { white-space: nowrap; }
table.facts td { overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; }
figure { margin: 1rem 0; overflow-x: auto; } figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; min-width: 38rem; height: auto; display: block; }
a { color: inherit; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg text.end { text-anchor: end; } svg text.middle { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; }
.band { fill: var(--band); }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .dashed { stroke-dasharray: 5 4; }
.s0 { stroke: var(--s0); } .s1 { stroke: var(--s1); } .s2 { stroke: var(--s2); }
.s3 { stroke: var(--s3); } .s4 { stroke: var(--s4); } .s5 { stroke: var(--s5); }
.legend { font-size: .85rem; color: var(--soft); } .legend span { margin-right: 1rem; white-space: nowrap; }
.key { display: inline-block; width: 1.5rem; min-width: 0; height: .5rem; vertical-align: middle; }
pre { background: var(--card); padding: .7rem .9rem; overflow-x: auto; font-size: .85rem; border-radius: 4px; }
code { font-size: .92em; overflow-wrap: anywhere; }
details > summary { cursor: pointer; color: var(--soft); }
ol.violations li { margin-bottom: .5rem; }
@media print { svg { min-width: 0; } body { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
";
