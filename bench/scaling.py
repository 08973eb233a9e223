#!/usr/bin/env python3
"""A model of one training step of ViT-B/32 over many nodes: see bench/scaling.md.

    python3 bench/scaling.py tables                      Markdown tables of weak and strong scaling
    python3 bench/scaling.py plan --ranks 64 > step.txt  what bench/smpi/step_pattern.c replays
    python3 bench/scaling.py step --ranks 64             one step, by parts
    python3 bench/scaling.py ways                        a Markdown table of the ways to sum between nodes
    python3 bench/scaling.py compare …                   a row of what bench/smpi/run.sh prints

Units: seconds, bytes, bytes/s. A rank is one MPI process; b pairs per rank, B in the global batch.
Standard library only.
"""

import argparse
import dataclasses
import math

DIM = 512  # width of the shared space
IMAGE_WIDTH, IMAGE_TOKENS, PATCH_INPUTS = 768, 50, 3 * 32 * 32
TEXT_WIDTH, VOCABULARY, CONTEXT = 512, 49408, 77
LAYERS = 12
F32 = 4
SLOTS = 4  # buckets between nodes at once (dist/reducer.c)
MANY_NODES, LEAST_MESSAGE = 64, 64 << 10  # dist/parts.c
# Where Open MPI changes algorithms (coll/tuned/coll_tuned_decision_fixed.c), simplified:
RING_BELOW = 64  # ranks; reduce-scatter: a butterfly from here on
BRUCK_BELOW, NEIGHBOUR_FROM = 1024, 1024  # all-gather: bytes per rank; ranks


@dataclasses.dataclass(frozen=True)
class Network:
    name: str
    bandwidth: float  # of a node, per direction
    latency_s: float  # end to end, MPI to MPI


NETWORKS = {
    "ethernet100": Network("100 Gb/s Ethernet", 12.5e9, 20e-6),
    "infiniband200": Network("200 Gb/s InfiniBand", 25e9, 2e-6),
}


@dataclasses.dataclass(frozen=True)
class Node:
    ranks: int
    pair_s: float  # forward and backward of one pair on one rank
    backward_share: float
    fixed_s: float  # a step's work that does not depend on the batch: AdamW, packing of the weights
    memory: float  # streaming bandwidth of a rank
    loss_flops: float  # f32 FLOP/s of a rank in the similarity products
    local_bandwidth: float  # of a rank to another one of its node, per direction
    local_latency_s: float


@dataclasses.dataclass(frozen=True)
class Stage:
    """Work of the backward pass up to a point where parameters are final and the sums are polled."""

    seconds: float
    parameters: int


def block_parameters(width):
    return 12 * width * width + 13 * width


def backward_stages(node, b, chunk, tokens):
    """Text tower, then image tower, each from its output to its input, as trainer.c and transformer.c do.

    Only the last chunk of a tower makes gradients final; those before it, and running the forward pass
    of every chunk again, come first.
    """
    chunk = b if chunk == 0 else min(chunk, b)
    again = b > chunk
    w, v = TEXT_WIDTH, IMAGE_WIDTH
    text = [(2.0 * w * DIM, w * DIM + 2 * w)]
    text += [(2.0 * tokens * 12 * w * w + 2.0 * tokens * tokens * w, block_parameters(w))] * LAYERS
    text += [(0.0, (VOCABULARY + CONTEXT) * w)]
    image = [(2.0 * v * DIM, v * DIM + 2 * v)]
    image += [(2.0 * IMAGE_TOKENS * 12 * v * v + 4.0 * IMAGE_TOKENS**2 * v, block_parameters(v))] * LAYERS
    # the patches need no gradient themselves: half the work of a backward pass
    image += [(0.5 * 2.0 * (IMAGE_TOKENS - 1) * PATCH_INPUTS * v, PATCH_INPUTS * v + (IMAGE_TOKENS + 3) * v)]

    total = sum(flop for flop, _ in text + image)
    stages = []
    for tower in (text, image):
        share = sum(flop for flop, _ in tower) / total
        backward_s = node.pair_s * node.backward_share * share
        forward_s = node.pair_s * (1.0 - node.backward_share) * share
        before_s = backward_s * (b - chunk) + (forward_s * b if again else 0.0)
        for flop, parameters in tower:
            seconds = node.pair_s * node.backward_share * chunk * flop / total
            stages.append(Stage(seconds + before_s, parameters))
            before_s = 0.0
    return stages


def parameters_of(stages):
    return sum(stage.parameters for stage in stages)


def bucket_elements(stages, bucket_bytes, nodes, node_ranks):
    """Sizes of the buckets, and after which stage each is ready (dist/parts.c; the arena from its end)."""
    if nodes > MANY_NODES:
        bucket_bytes = max(bucket_bytes, LEAST_MESSAGE * nodes * node_ranks)
    longest, left = bucket_bytes // F32, parameters_of(stages)
    buckets, final, taken = [], 0, 0
    for index, stage in enumerate(stages):
        final += stage.parameters
        last = index + 1 == len(stages)
        while left and (final - taken >= min(longest, left) or last):
            size = min(longest, left)
            buckets.append((size, index))
            taken += size
            left -= size
    return buckets


# ---- Collectives ----


def is_local(distance, node):
    return distance < node.ranks


def link(network, node, local):
    """Latency, and bandwidth of one rank when all ranks of a node send at once."""
    if local:
        return node.local_latency_s, node.local_bandwidth
    return network.latency_s, network.bandwidth / node.ranks


def sum_s(node, elements):
    return 3 * F32 * elements / node.memory  # two reads and a write


def halving_rounds(node, ranks, elements):
    """Rabenseifner's rounds: (elements, whether inside the node, whether a sum follows)."""
    down = [
        (elements / 2 ** (i + 1), is_local(2**i, node), True) for i in range(int(math.log2(ranks)))
    ]
    return down + [(n, local, False) for n, local, _ in reversed(down)]


def ring_s(network, node, ranks, size):
    """p - 1 steps of size/p as fast as the slowest hop; one rank of a node sends out of it, with the whole link."""
    hop_s = node.local_latency_s + size / ranks / node.local_bandwidth if node.ranks > 1 else 0.0
    if ranks > node.ranks:
        hop_s = max(hop_s, network.latency_s + size / ranks / network.bandwidth)
    return (ranks - 1) * hop_s


def bruck_s(network, node, ranks, size):
    """log2 p rounds; in round i, 2^i blocks travel 2^i ranks far."""
    seconds = 0.0
    for i in range(int(math.log2(ranks))):
        latency, bandwidth = link(network, node, is_local(2**i, node))
        seconds += latency + 2**i * size / ranks / bandwidth
    return seconds


def neighbour_s(network, node, ranks, size):
    """p/2 exchanges of two blocks, with one neighbour and the other in turn; one of the two is of the node."""
    near_s = node.local_latency_s + 2 * size / ranks / node.local_bandwidth
    far_s = network.latency_s + 2 * size / ranks / network.bandwidth
    return ranks / 4 * ((near_s if node.ranks > 1 else far_s) + far_s)


def gather_s(network, node, ranks, size):
    """MPI_Allgatherv of `size` bytes in all, with the algorithm that Open MPI's rules choose (roughly)."""
    if ranks == 1:
        return 0.0
    if size / ranks < BRUCK_BELOW:
        return bruck_s(network, node, ranks, size)
    return (ring_s if ranks < NEIGHBOUR_FROM else neighbour_s)(network, node, ranks, size)


def reduce_scatter_s(network, node, ranks, elements):
    if ranks == 1:
        return 0.0
    if ranks < RING_BELOW:
        return ring_s(network, node, ranks, F32 * elements) + sum_s(node, elements * (ranks - 1) / ranks)
    seconds = 0.0
    rounds = halving_rounds(node, ranks, elements)
    for n, local, adds in rounds[: len(rounds) // 2] + [(elements / ranks, False, False)]:
        latency, bandwidth = link(network, node, local)
        seconds += latency + F32 * n / bandwidth + (sum_s(node, n) if adds else 0.0)
    return seconds


def scalars_s(network, node, ranks):
    return sum(link(network, node, is_local(2**i, node))[0] for i in range(int(math.log2(ranks))))


# ---- Overlap of the gradient sums with backward ----


def node_sum_s(node, elements):
    """A rank adds its part of a bucket over the ranks of its node: it reads them all and writes one."""
    return F32 * elements / node.ranks * (node.ranks + 1) / node.memory if node.ranks > 1 else 0.0


def node_copy_s(node, elements, cached):
    """It writes that part into the memory of the others; on one node while the sum is in the cache."""
    return F32 * elements / node.ranks * (node.ranks - cached) / node.memory if node.ranks > 1 else 0.0


def exchange_rounds(node, part, nodes, wire_bytes):
    """Pieces to the nodes that complete them, then completed pieces to all: to every other node at once."""
    sent = part * (nodes - 1) / nodes
    return [(wire_bytes * sent, sum_s(node, sent)), (wire_bytes * sent, 0.0)]


def mpi_rounds(adding, silent):
    """Rounds of one message each; what an Allreduce leaves is copied from its buffer into the arena."""

    def rounds(node, part, nodes, wire_bytes):
        made = [(F32 * n, sum_s(node, n)) for n in adding(part, nodes)]
        made += [(F32 * n, 0.0) for n in silent(part, nodes)]
        size, work = made[-1]
        made[-1] = (size, work + 2 * F32 * part / node.memory)
        return made

    return rounds


def halves(part, nodes):
    return [part / 2 ** (i + 1) for i in range(int(math.log2(nodes)))]


# How a rank's part of a bucket is summed over the nodes: rounds of (bytes sent, seconds of work when they have arrived).
WAYS = {
    "exchange": exchange_rounds,
    "rabenseifner": mpi_rounds(halves, lambda part, nodes: halves(part, nodes)[::-1]),
    "ring": mpi_rounds(lambda part, nodes: [part / nodes] * (nodes - 1), lambda part, nodes: [part / nodes] * (nodes - 1)),
    "doubling": mpi_rounds(lambda part, nodes: [part] * int(math.log2(nodes)), lambda part, nodes: []),
    # switches that add at the rate of their links: the part goes up while the sum comes down (not in step_pattern.c)
    "network": mpi_rounds(lambda part, nodes: [], lambda part, nodes: [part]),
}


class Flow:
    """One bucket between nodes. One latency passes for all messages of a round."""

    def __init__(self, elements, network, node, nodes, options):
        self.rounds = WAYS[options.reduce](node, elements / node.ranks, nodes, options.wire_bytes)
        size, work = self.rounds[-1]
        self.rounds[-1] = (size, work + node_copy_s(node, elements, False))
        self.latency_s, self.bandwidth = link(network, node, False)
        self.send()

    def send(self):
        """The first of the rounds that are left."""
        self.latency, self.left = self.latency_s, self.rounds[0][0]

    def arrived(self):
        return self.latency <= 0.0 and self.left <= 1e-3


def until_next(flows):
    """Seconds to the next end of a latency or of a transfer; flows share the link evenly."""
    sharing = sum(f.latency <= 0 < f.left for f in flows)
    seconds = math.inf
    for f in flows:
        if f.latency > 0.0:
            seconds = min(seconds, f.latency)
        elif not f.arrived():
            seconds = min(seconds, f.left * sharing / f.bandwidth)
    return seconds, sharing


def drain(flows, seconds):
    """Lets `seconds` pass."""
    while seconds > 0.0:
        step, sharing = until_next(flows)
        step = min(step, seconds)
        if math.isinf(step):
            return
        for f in flows:
            if f.latency > 0.0:
                f.latency = f.latency - step if f.latency - step > 1e-12 else 0.0
            elif f.left > 0.0:
                f.left = max(0.0, f.left - step * f.bandwidth / sharing)
                f.left = f.left if f.left > 1e-3 else 0.0
        seconds -= step


class Sums:
    """The buckets of one step."""

    def __init__(self, network, node, nodes, options):
        self.network, self.node, self.nodes, self.options = network, node, nodes, options
        self.ready, self.flows = [], []

    def work(self, seconds):
        drain(self.flows, seconds)
        return seconds

    def poll(self):
        """What tdm_reducer_poll does; returns the seconds of additions and copies."""
        spent = 0.0
        while self.ready and len(self.flows) < SLOTS:
            elements = self.ready.pop(0)
            spent += self.work(node_sum_s(self.node, elements))
            if self.nodes > 1:
                self.flows.append(Flow(elements, self.network, self.node, self.nodes, self.options))
            else:
                spent += self.work(node_copy_s(self.node, elements, True))
        for f in list(self.flows):
            if not f.arrived():
                continue
            spent += self.work(f.rounds.pop(0)[1])
            if f.rounds:
                f.send()
            else:
                self.flows.remove(f)
        return spent


def polled_s(network, node, ranks, stages, buckets, options):
    """Sums that advance in polls only, `options.polls` of them in a stage, the last one at its end.

    Returns the seconds of additions and copies inside backward, and those of everything after it.
    """
    sums, inside, waiting = Sums(network, node, ranks // node.ranks, options), 0.0, list(buckets)
    for index, stage in enumerate(stages):
        for k in range(options.polls):
            drain(sums.flows, stage.seconds / options.polls)
            inside += sums.poll() if k + 1 < options.polls else 0.0
        while waiting and waiting[0][1] == index:
            sums.ready.append(waiting.pop(0)[0])
        inside += sums.poll()
    after = 0.0
    while sums.flows or sums.ready:
        step, _ = until_next(sums.flows)
        if not math.isinf(step):
            drain(sums.flows, step)
            after += step
        after += sums.poll()
    return inside, after


# ---- A step ----


@dataclasses.dataclass(frozen=True)
class Step:
    ranks: int
    b: int
    forward_s: float
    gather_s: float
    loss_s: float
    scatter_s: float
    scalars_s: float
    backward_s: float
    fixed_s: float
    sums_s: float  # additions of the gradient sums during backward
    tail_s: float  # gradient sums after backward

    def compute_s(self):
        return self.forward_s + self.loss_s + self.backward_s + self.fixed_s

    def exposed_s(self):
        return self.gather_s + self.scatter_s + self.scalars_s + self.sums_s + self.tail_s

    def seconds(self):
        return self.compute_s() + self.exposed_s()


def loss_s(node, b, B):
    """Three products of b x B x d and two directions; softmax, targets and additions are memory traffic."""
    products = 2 * 3 * 2.0 * b * B * DIM / node.loss_flops
    passes = 60.0 * b * B + 2 * 3.0 * F32 * B * DIM  # per logit; the gradient of all features
    return products + passes / node.memory


def model_step(network, node, ranks, b, options):
    B = b * ranks
    stages = backward_stages(node, b, options.chunk, options.tokens)
    buckets = bucket_elements(stages, options.bucket_mib << 20, ranks // node.ranks, node.ranks)
    features = F32 * B * DIM
    alone = ranks == 1
    sums = (0.0, 0.0) if alone else polled_s(network, node, ranks, stages, buckets, options)
    return Step(
        ranks=ranks,
        b=b,
        forward_s=node.pair_s * (1.0 - node.backward_share) * b,
        gather_s=gather_s(network, node, ranks, 8 * B) + 2 * gather_s(network, node, ranks, features),
        loss_s=loss_s(node, b, B),
        scatter_s=2 * reduce_scatter_s(network, node, ranks, B * DIM),
        scalars_s=2 * scalars_s(network, node, ranks),
        backward_s=sum(stage.seconds for stage in stages),
        fixed_s=node.fixed_s,
        sums_s=sums[0],
        tail_s=sums[1],
    )


# ---- Output ----


def node_of(options):
    fast = options.faster
    return Node(
        ranks=options.node_ranks,
        pair_s=options.pair_s / fast,
        backward_share=options.backward_share,
        fixed_s=options.fixed_s / fast,
        memory=options.memory_gbs * 1e9 * fast,
        loss_flops=options.loss_gflops * 1e9 * fast,
        local_bandwidth=options.local_gbs * 1e9,
        local_latency_s=options.local_latency_us * 1e-6,
    )


def number(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def table(title, node, options, batch_of):
    print(f"\n{title}\n")
    names = [NETWORKS[name] for name in options.networks]
    head = ["nodes", "b", "B"]
    for network in names:
        head += [f"{network.name}: step, s", "pairs/s", "efficiency", "exposed, s"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---:|" * len(head))
    whole = argparse.Namespace(**{**vars(options), "chunk": 0})  # efficiency is against no forward pass run twice
    base = {}
    for nodes in options.nodes:
        ranks = nodes * node.ranks
        b = batch_of(ranks)
        if b < 1:
            continue
        row = [f"{nodes:,}", f"{b:,}", f"{b * ranks:,}"]
        for network in names:
            step = model_step(network, node, ranks, b, options)
            rate = b * ranks / step.seconds()
            if network.name not in base:
                base[network.name] = b * ranks / model_step(network, node, ranks, b, whole).seconds() / nodes
            row += [
                f"{step.seconds():.3f}",
                number(rate),
                f"{100 * rate / nodes / base[network.name]:.1f} %",
                f"{step.exposed_s():.3f}",
            ]
        print("| " + " | ".join(row) + " |")


def print_tables(options):
    node = node_of(options)
    table(
        f"**Weak scaling, {options.batch} pairs per rank**",
        node,
        options,
        lambda ranks: options.batch,
    )
    strong = argparse.Namespace(**vars(options))
    strong.chunk = options.strong_chunk
    table(
        f"**Strong scaling, {options.global_batch:,} pairs a step, chunks of {strong.chunk:,}**",
        node,
        strong,
        lambda ranks: options.global_batch // ranks,
    )


def print_ways(options):
    """Exposed gradient sums, ms, of every way."""
    node = node_of(options)
    names = [NETWORKS[name] for name in options.networks]
    heads = [f"{network.name}: {way}" for network in names for way in WAYS]
    print("| nodes | " + " | ".join(heads) + " |")
    print("|" + "---:|" * (len(heads) + 1))
    for nodes in options.nodes:
        if nodes == 1:
            continue
        row = []
        for network in names:
            for way in WAYS:
                chosen = argparse.Namespace(**{**vars(options), "reduce": way})
                step = model_step(network, node, nodes * node.ranks, options.batch, chosen)
                row.append(f"{1e3 * (step.sums_s + step.tail_s):.1f}")
        print(f"| {nodes:,} | " + " | ".join(row) + " |")


def print_step(options):
    node = node_of(options)
    network = NETWORKS[options.network]
    step = model_step(network, node, options.ranks, options.batch, options)
    for field in dataclasses.fields(step):
        print(f"{field.name:18s} {getattr(step, field.name):.6g}")
    print(f"{'exposed_s':18s} {step.exposed_s():.6g}")
    print(f"{'step_s':18s} {step.seconds():.6g}")


def print_plan(options):
    """Lines that step_pattern.c reads: only work and sizes, nothing about the network."""
    node = node_of(options)
    b, ranks = options.batch, options.ranks
    stages = backward_stages(node, b, options.chunk, options.tokens)
    buckets = bucket_elements(stages, options.bucket_mib << 20, ranks // node.ranks, node.ranks)
    print(f"ranks {ranks} node {node.ranks} b {b} d {DIM} wire {options.wire_bytes} memory {node.memory:.9g}")
    forward_s = node.pair_s * (1.0 - node.backward_share) * b
    print(f"forward {forward_s:.9g} loss {loss_s(node, b, b * ranks):.9g} fixed {node.fixed_s:.9g}")
    print(f"reduce {options.reduce} stages {len(stages)} buckets {len(buckets)}")
    for stage in stages:
        print(f"{stage.seconds:.9g}")
    for elements, after in buckets:
        print(f"{elements} {after}")


def print_comparison(options):
    """One row: the model beside the line that step_pattern.c printed."""
    step = model_step(NETWORKS[options.network], node_of(options), options.ranks, options.batch, options)
    words = options.simulated.split()
    simulated = dict(zip(words[::2], map(float, words[1::2])))
    pairs = [
        (step.seconds(), simulated["step_s"]),
        (step.gather_s, simulated["gather_s"]),
        (step.scatter_s, simulated["scatter_s"]),
        (step.sums_s + step.tail_s, simulated["sums_s"]),
    ]
    cells = [f"{1e3 * model:.2f} / {1e3 * smpi:.2f} / {smpi / model:.3f}" for model, smpi in pairs]
    print(f"| {NETWORKS[options.network].name} | {options.reduce} | {options.ranks} | " + " | ".join(cells) + " |")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tables", "ways", "step", "plan", "compare"])
    add = parser.add_argument
    add("--faster", type=float, default=1.0, help="the node computes this many times as fast")
    add("--node-ranks", type=int, default=2, help="ranks of a node (a power of two)")
    add("--pair-s", type=float, default=0.0454, help="forward and backward of a pair on one rank, s")
    add("--backward-share", type=float, default=0.66, help="of --pair-s")
    add("--fixed-s", type=float, default=0.246, help="AdamW and packing of the weights, s")
    add("--memory-gbs", type=float, default=12.0, help="streaming bandwidth of a rank, GB/s")
    add("--loss-gflops", type=float, default=100.0, help="f32 rate of a rank in the loss, GFLOP/s")
    add("--local-gbs", type=float, default=10.0, help="between ranks of a node, GB/s")
    add("--local-latency-us", type=float, default=1.0, help="between ranks of a node")
    add("--batch", type=int, default=64, help="pairs per rank")
    add("--global-batch", type=int, default=32768, help="of strong scaling")
    add("--chunk", type=int, default=0, help="train.chunk; 0: none")
    add("--strong-chunk", type=int, default=1024, help="train.chunk of strong scaling")
    add("--tokens", type=float, default=19.0, help="per caption")
    add("--bucket-mib", type=int, default=25, help="train.bucket_mib")
    add("--polls", type=int, default=16, help="of the sums per stage of backward; one after each operation")
    add("--wire-bytes", type=int, default=4, choices=[2, 4], help="per gradient element: 4 f32, 2 bf16")
    add("--reduce", choices=list(WAYS), default="exchange", help="how sums travel between nodes")
    add("--nodes", type=int, nargs="+", default=[2**i for i in range(11)])
    add("--ranks", type=int, default=8)
    add("--network", choices=sorted(NETWORKS), default="ethernet100")
    add("--simulated", default="", help="of compare: what step_pattern printed")
    add("--networks", nargs="+", choices=sorted(NETWORKS), default=list(NETWORKS))
    options = parser.parse_args()
    for n in [options.ranks, options.node_ranks, *options.nodes]:
        if n < 1 or n & (n - 1):
            parser.error(f"ranks and nodes are powers of two, not {n}")
    return options


def main():
    options = arguments()
    {"tables": print_tables, "ways": print_ways, "step": print_step, "plan": print_plan, "compare": print_comparison}[
        options.what
    ](options)


if __name__ == "__main__":
    main()
