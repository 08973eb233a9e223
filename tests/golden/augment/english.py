"""Easy data augmentation as the class EDA that TBPS-CLIP ships has it, with this project's random stream.

Where the class shuffles all to take the first, one is drawn here; tries whose result it does not use are left out. Both
leave the distribution as it is."""
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "../../../src/text/stop_words.inc"), encoding="utf-8") as file:
    STOP_WORDS = set(re.findall(r'"([^"]+)"', file.read()))
with open(os.path.join(HERE, "wordnet.txt"), encoding="utf-8") as file:
    SYNONYMS = dict(line.rstrip("\n").split("\t") for line in file)


def is_stop_word(word):
    return word.lower() in STOP_WORDS


def synonyms(word):
    """Of words that are in wordnet.txt: the others count as unknown, and the texts of the scripts have none of them."""
    if word not in SYNONYMS or SYNONYMS[word] == "-":
        return []
    return SYNONYMS[word].split("|")


def amount(alpha, n, words):
    return n if n else max(1, int(alpha * len(words))) if alpha else 0


def replace(stream, words, n):
    replaced = 0
    candidates = sorted({word for word in words if not is_stop_word(word)}) if n else []
    for word in stream.shuffled(candidates):
        found = synonyms(word)
        if found:
            chosen = found[stream.below(len(found))]
            words = [chosen if other == word else other for other in words]
            replaced += 1
        if replaced >= n:
            break
    return words


def insert(stream, words, n):
    words = list(words)
    for _ in range(n):
        for _ in range(9):
            content = [word for word in words if not is_stop_word(word)]
            if not content:
                break
            found = synonyms(content[stream.below(len(content))])
            if found:
                chosen = found[stream.below(len(found))]
                words.insert(stream.below(len(words)), chosen)
                break
    return words


def swap(stream, words, n):
    words = list(words)
    for _ in range(n if words else 0):
        first = stream.below(len(words))
        second, redraws = first, 0
        while second == first and redraws < 3:
            second = stream.below(len(words))
            redraws += 1
        words[first], words[second] = words[second], words[first]
    return words


def delete(stream, text, p, content=False):
    """A text from which nothing is deleted keeps its white space."""
    words = text.split()
    kept = [word for word in words if (content and is_stop_word(word)) or stream.uniform() >= p]
    if len(kept) == len(words):
        return text
    return " ".join(kept) if kept else words[stream.below(len(words))]


TEXTS = ["a man with a red coat and black shoes carrying a bag , the man wears glasses", "one", "of the", "",
         "  two\tmen ", "twenty-four women o'clock",
         "The DOG of the cat and the dog , red red red xyzzy", "of the coat, xyzzy"]


def write_amounts(name, change):
    """change(stream, words, n)"""
    from stream import Stream, hexed, write
    cases = []
    for entry, alpha, n, p in ((name, 0.05, 0, 1), (name + "(alpha=0.4)", 0.4, 0, 1), (name + "(n=3)", 0.05, 3, 1),
                               (name + "(alpha=0)", 0, 0, 1), (name + "(p=0.5,n=1)", 0.05, 1, 0.5)):
        for sample in range(5):
            for text in TEXTS:
                stream, words = Stream(1, 2, sample, 7), text.split()
                changed = text
                if stream.uniform() < p:
                    changed = " ".join(change(stream, words, amount(alpha, n, words)))
                cases.append(("words", 1, 2, sample, 7, entry, hexed(text), hexed(changed)))
    write(name, cases)
