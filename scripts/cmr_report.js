// Joins what scripts/cmr_study.sh has measured so far.
//   node cmr_report.js RUNS              writes RUNS/report.html
//   node cmr_report.js RUNS --markdown   prints the tables for docs/cmr.md
'use strict';
const fs = require('fs');
const path = require('path');
const [runs, mode] = process.argv.slice(2);

const sets = [['stamps', 'stamps'], ['groups', 'emoji groups'], ['subgroups', 'emoji subgroups']];
const studies = ['objectives', 'imbalance', 'width', 'end_to_end', 'hybrids', 'temperature', 'margin', 'depth',
  'mid_width', 'batch'];
const metrics = [['image_to_text', 'image → text'], ['text_to_image', 'text → image'], ['average', 'average']];

const read = (...parts) => {
  const file = path.join(runs, ...parts);
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
};
const json = (...parts) => JSON.parse(read(...parts) || 'null');
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
const percent = (value) => (100 * value).toFixed(1);
const cell = (metric) => !metric || metric.mean === null || metric.mean === undefined ? '–'
  : percent(metric.mean) + (metric.std === null ? '' : '\u00a0±\u00a0' + percent(metric.std)); // non-breaking blanks

// ---- Objective × set × direction ----
const measured = sets.map(([name]) => json(name, 'objectives', 'study.json'));
const labels = measured.find(Boolean)?.rows.map((row) => row.label) || [];
const clip = sets.map(([name]) => json(name, 'clip.json'));
const objectiveRows = [
  ['the CLIP itself', ...clip.flatMap((set) => metrics.map(([key]) => (set ? percent(set[key].map) : '–')))],
  ...labels.map((label) => [label, ...measured.flatMap((study) => {
    const row = study?.rows.find((one) => one.label === label);
    return metrics.map(([key]) => cell(row?.metrics[key + '.map']));
  })]),
];

// ---- Other studies: the average over the values of the numeric axis ----
function sweep(set, name) {
  const study = json(set, name, 'study.json');
  if (!study) return null;
  const rows = study.rows.filter((row) => row.x !== undefined);
  const xs = [...new Set(rows.map((row) => row.x))].sort((a, b) => a - b);
  // a label is "SERIES, VALUE": the value of an x is the same for all series
  const series = [...new Set(rows.map((row) => row.label.split(', ')[0]))];
  const value = new Map(rows.map((row) => [row.x, row.label.split(', ').slice(1).join(', ')]));
  const at = (x, one) => rows.find((row) => row.x === x && row.label.split(', ')[0] === one);
  return { title: study.title, series, lines: xs.map((x) => [value.get(x), ...series.map((one) => cell(at(x, one)?.metrics['average.map']))]) };
}
const found = studies.flatMap((name) => sets.map(([set]) => [set, name])).filter(([set, name]) => read(set, name, 'study.json'));

if (mode === '--markdown') {
  const line = (cells) => '| ' + cells.join(' | ') + ' |\n';
  // without the averages: a page is not that wide
  const directions = (row) => row.filter((_, column) => column % 3 !== 0 || column === 0);
  let text = line(['', ...sets.flatMap(([, title]) => metrics.slice(0, 2).map(([, name]) => `${title}, ${name}`))]) +
    line(Array(1 + 2 * sets.length).fill('---'));
  for (const row of objectiveRows) text += line(directions(row));
  for (const [set, name] of found) {
    const one = name === 'objectives' ? null : sweep(set, name);
    if (!one) continue;
    text += `\n**${one.title}**, ${set}\n\n` + line(['', ...one.series]) + line(Array(1 + one.series.length).fill('---'));
    for (const row of one.lines) text += line(row);
  }
  process.stdout.write(text.replace(/\u00a0/g, ' '));
} else {
  // the parts of a study's own page: from a heading to the next one
  const sections = (page) => (page.match(/<h2>[\s\S]*?(?=<h2>|<p class="note">|<\/main>)/g) || []);
  const style = (found.length && read(...found[0], 'report.html').match(/<style>[\s\S]*?<\/style>/)) || [''];
  const table = (head, rows) => '<table>\n' + head + rows.map((row) =>
    '<tr>' + row.map((one) => `<td>${escaped(one)}</td>`).join('') + '</tr>\n').join('') + '</table>\n';
  let html = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n' +
    '<meta name="viewport" content="width=device-width,initial-scale=1">\n' +
    `<title>Supervised cross-modal retrieval</title>\n${style[0]}\n</head>\n<body>\n<main>\n` +
    '<h1>Supervised cross-modal retrieval</h1>\n<p class="sub">Mean average precision in % on the test splits, mean ± ' +
    'standard deviation over the seeds. The checkpoint is chosen on the validation split.</p>\n<h2>Objectives</h2>\n';
  const head = '<tr><th></th>' + sets.map(([, title]) => `<th colspan="3">${title}</th>`).join('') + '</tr>\n<tr><td></td>' +
    sets.map(() => metrics.map(([, name]) => `<td>${name}</td>`).join('')).join('') + '</tr>\n';
  html += table(head, objectiveRows);
  const links = (file) => sets.filter(([name]) => read(name, file)).map(([name, title]) => `<a href="${name}/${file}">${title}</a>`).join(', ');
  html += `<p class="sub">All figures and learning curves: ${links('objectives/report.html')}</p>\n`;
  if (links('embedding.html'))
    html += '<p class="sub">The test embedding of SupCon, seed 1, with the figures of each class: ' +
      links('embedding.html') + '</p>\n';
  for (const [set, name] of found) {
    const one = name === 'objectives' ? null : sweep(set, name);
    if (!one) continue;
    const page = read(set, name, 'report.html') || '';
    const title = escaped(json(set, name, 'study.json').title.replace(', small', ''));
    html += `<h2>${title}, ${set}</h2>\n<p class="sub"><a href="${set}/${name}/report.html">all figures and learning curves</a></p>\n`;
    html += sections(page).filter((part) => part.startsWith('<h2>Over ')).map((part) => part.replace(/<h2>.*?<\/h2>/, '')).join('');
    html += '<br>\n' + table('<tr><th>average of both directions</th>' + one.series.map((label) => `<th>${escaped(label)}</th>`).join('') + '</tr>\n', one.lines);
  }
  html += '</main>\n</body>\n</html>\n';
  fs.writeFileSync(path.join(runs, 'report.html.tmp'), html);
  fs.renameSync(path.join(runs, 'report.html.tmp'), path.join(runs, 'report.html'));
}
