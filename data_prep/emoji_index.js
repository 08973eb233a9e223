// Joins the four artists' files with emojibase's labels.
//   node emoji_index.js PACKAGES OUT
// Prints "source<TAB>target" for every picture and writes OUT/emoji.json.tmp:
//   {"concepts": [{"label", "tags": [], "group", "subgroup"}], "images": [{"file", "artist", "concept"}]}
// A concept is an emoji without its skin tone variants; `concept` is its place in the list.
'use strict';
const fs = require('fs');
const path = require('path');
const [packages, out] = process.argv.slice(2);

const read = (...parts) => JSON.parse(fs.readFileSync(path.join(packages, ...parts), 'utf8'));
// some artists write the variation selector FE0F into file names, some do not
const plain = (hexcode) => hexcode.toUpperCase().split('-').filter((code) => code !== 'FE0F').join('-');
const slug = (label) => label.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');

const messages = read('emojibase', 'en', 'messages.json');
const names = (list) => new Map(list.map((entry) => [entry.order, entry.message]));
const groups = names(messages.groups);
const subgroups = names(messages.subgroups);

function byHexcode(...folder) {
  const directory = path.join(packages, ...folder);
  return new Map(fs.readdirSync(directory).map((file) => [plain(path.parse(file).name), path.join(directory, file)]));
}

// Fluent's files carry labels: NAME.svg, or NAME-default.svg beside one file per skin tone
function fluentByLabel() {
  const directory = path.join(packages, 'fluent', 'icons', 'modern');
  const files = new Set(fs.readdirSync(directory).map((file) => path.parse(file).name));
  const tone = /-(light|medium-light|medium|medium-dark|dark)$/;
  const found = new Map();
  for (const file of files) {
    if (file.endsWith('-default')) found.set(file.slice(0, -'-default'.length), path.join(directory, file + '.svg'));
    else if (!files.has(file.replace(tone, '') + '-default')) found.set(file, path.join(directory, file + '.svg'));
  }
  return found;
}

const artists = {
  google: byHexcode('google', 'img', 'google', '64'),
  twitter: byHexcode('twitter', 'img', 'twitter', '64'),
  openmoji: byHexcode('openmoji', 'color', 'svg'),
};
const fluent = fluentByLabel();

const concepts = [];
const images = [];
const lines = [];
for (const emoji of read('emojibase', 'en', 'data.json')) {
  if (emoji.group === undefined) continue; // single regional indicator letters
  const code = plain(emoji.hexcode);
  const concept = concepts.length;
  const add = (artist, source) => {
    if (!source) return;
    const file = `${artist}/${code}.png`;
    images.push({ file, artist, concept });
    lines.push(`${source}\t${path.join(out, file)}`);
  };
  for (const [artist, files] of Object.entries(artists)) add(artist, files.get(code));
  add('fluent', fluent.get(slug(emoji.label)));
  concepts.push({
    label: emoji.label,
    tags: emoji.tags || [],
    group: groups.get(emoji.group) || '',
    subgroup: subgroups.get(emoji.subgroup) || '',
  });
}
fs.writeFileSync(path.join(out, 'emoji.json.tmp'), JSON.stringify({ concepts, images }, null, 0) + '\n');
process.stdout.write(lines.join('\n') + '\n');
