#!/usr/bin/env python3
"""Synonyms as NLTK finds them, and the part of WordNet that the tests need for them.

  wordnet.py                    writes wordnet.txt for WORDS, and wordnet/: of WordNet's files their lines for WORDS
                                and what these are forms of
  wordnet.py --all FILE         the same list for every word of WordNet, irregular forms and regular forms of them

Needs nltk, and WordNet 3.0 in /usr/share/wordnet (Debian's package wordnet-base). A line of a list: the word, a tab, and
its synonyms with | between. Compare all: test_wordnet /usr/share/wordnet FILE."""
import os
import shutil
import sys
import tempfile

WORDNET = "/usr/share/wordnet"
HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
WORDS = """man men woman women children girl boys person people wearing wears wore worn carrying carries walking walks
    coat jacket jackets shirt shoes shoe boots dresses glasses scarf scarves boxes brushes bag backpack
    black dark darker darkest bright red bigger happier big long short quickly well better galore
    twenty-four o'clock ice_cream axes feet offer has cell cat dog image two twice DOG xyzzy coat, of""".split()


def reader():
    """NLTK asks for the names of the lexicographers' files, which the package lacks and which are of no matter here."""
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    place = tempfile.mkdtemp()
    nltk.data.path.append(place)
    for name in [kind + part for part in PARTS for kind in ("index.", "data.")] + [part + ".exc" for part in PARTS]:
        shutil.copy(os.path.join(WORDNET, name), place)
    with open(os.path.join(place, "lexnames"), "w", encoding="ascii") as out:
        out.writelines("%02d\tname%d\t1\n" % (i, i) for i in range(45))

    class English(WordNetCorpusReader):
        def map_wn(self, version="wordnet"):
            """Between versions of WordNet, for other languages."""

    return English(place, None)


def synonyms(wordnet, word):
    """_get_synonyms of the class EDA that TBPS-CLIP ships, before its shuffle."""
    found = set()
    for meaning in wordnet.synsets(word):
        for name in meaning.lemma_names():
            name = name.replace("_", " ").replace("-", " ").lower()
            found.add("".join(c for c in name if c in " abcdefghijklmnopqrstuvwxyz"))
    return sorted(found - {word.lower()})


def write_list(path, wordnet, words):
    with open(path, "w", encoding="utf-8") as out:
        out.writelines("%s\t%s\n" % (word, "|".join(synonyms(wordnet, word)) if synonyms(wordnet, word) else "-")
                       for word in words)


def every_word(wordnet):
    words = set(wordnet.all_lemma_names())
    for part in PARTS.values():
        words |= set(wordnet._exception_map[part])
    for ending in "s", "es", "ed", "ing", "er", "est":
        words |= {word + ending for word in sorted(words)[::37]}
    return sorted(words)


def with_forms(wordnet, words):
    """And what they are forms of, and so on."""
    words = list(words)
    for word in words:
        for part in PARTS.values():
            words += [form for form in wordnet._morphy(word.lower(), part) if form not in words]
    return words


def write_part(wordnet, words, directory):
    """The lines of the words' forms, with meanings that stand elsewhere now. Their explanations are left out."""
    os.makedirs(directory, exist_ok=True)
    for name, part in PARTS.items():
        forms = sorted({form for word in words for form in wordnet._morphy(word.lower(), part)})
        with open(os.path.join(WORDNET, "index." + name), encoding="ascii") as file:
            lines = [line.rstrip("\n") for line in file]
        licence = "".join(line + "\n" for line in lines if line.startswith(" "))
        index = {line.split()[0]: line.split() for line in lines if not line.startswith(" ")}
        data, place = licence, {}
        with open(os.path.join(WORDNET, "data." + name), encoding="ascii") as file:
            whole = file.read()
        for form in forms:
            for offset in index[form][-int(index[form][2]):]:
                fields = whole[int(offset):].split(" ", 4 + 2 * 64)
                kept = fields[1:4 + 2 * int(fields[3], 16)]
                if offset not in place:
                    place[offset] = "%08d" % len(data)
                    data += " ".join([place[offset]] + kept + ["000", "|"]) + "  \n"
        text = licence
        for form in forms:
            text += " ".join(place.get(field, field) if len(field) == 8 else field for field in index[form]) + "  \n"
        with open(os.path.join(WORDNET, name + ".exc"), encoding="ascii") as file:
            exceptions = [line for line in file if line.split()[0] in words]
        for file_name, content in (("index." + name, text), ("data." + name, data),
                                   (name + ".exc", "".join(exceptions) or "zzz zzz\n")):
            with open(os.path.join(directory, file_name), "w", encoding="ascii") as out:
                out.write(content)


if __name__ == "__main__":
    english = reader()
    if sys.argv[1:2] == ["--all"]:
        write_list(sys.argv[2], english, every_word(english))
    else:
        all_words = with_forms(english, WORDS)
        write_list(os.path.join(HERE, "wordnet.txt"), english, all_words)
        write_part(english, all_words, os.path.join(HERE, "wordnet"))
