// The emoji of fetch_emoji.sh as a data set of supervised cross-modal retrieval.
//   node emoji_classes.js EMOJI >list.csv
// prints columns filepath, title, group, subgroup, split for `tandem pack --format csv`. The pictures are Fluent's, which
// the quickstart's model has not seen: features of pictures that it has learnt by heart would teach a head nothing. Of
// each subgroup 25 % are for the test, 15 % for the validation.
'use strict';
const fs = require('fs');
const path = require('path');
const [folder] = process.argv.slice(2);
const { concepts, images } = JSON.parse(fs.readFileSync(path.join(folder, 'emoji.json'), 'utf8'));

// FNV-1a: an order that looks like chance and never changes
const hash = (text) => [...text].reduce((h, c) => Math.imul(h ^ c.codePointAt(0), 16777619) >>> 0, 2166136261);

const fluent = images.filter((image) => image.artist === 'fluent');
const bySubgroup = new Map();
for (const image of fluent) {
  const name = concepts[image.concept].subgroup;
  bySubgroup.set(name, [...(bySubgroup.get(name) || []), image]);
}
const split = new Map();
for (const members of bySubgroup.values()) {
  members.sort((a, b) => hash(a.file) - hash(b.file));
  const test = Math.round(0.25 * members.length);
  const val = Math.round(0.15 * members.length);
  members.forEach((image, i) => split.set(image, i < test ? 'test' : i < test + val ? 'val' : 'train'));
}

const quoted = (text) => `"${text.replace(/"/g, '""')}"`;
console.log('filepath,title,group,subgroup,split');
for (const image of fluent) {
  const concept = concepts[image.concept];
  const file = path.resolve(folder, image.file);
  console.log([file, concept.label, concept.group, concept.subgroup, split.get(image)].map(quoted).join(','));
}
