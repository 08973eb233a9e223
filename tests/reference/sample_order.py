"""The order of the samples of an epoch, once more from its definition: Philox4x32-10 and a Feistel network, as
include/tandem/rng.h has them."""


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def epoch_order(n, seed, epoch, purpose=2):
    name = [epoch & 0xFFFFFFFF, (epoch >> 32) ^ (purpose * 0x9E3779B9 & 0xFFFFFFFF), 0, purpose]
    mixed = philox(name, [seed & 0xFFFFFFFF, seed >> 32])
    half = 1
    while 1 << 2 * half < n:
        half += 1
    mask, order = (1 << half) - 1, []
    for value in range(n):
        while True:
            left, right = value >> half, value & mask
            for step in range(6):
                left, right = right, left ^ philox([right, step, mixed[2], mixed[3]], mixed[:2])[0] & mask
            value = left << half | right
            if value < n:
                break
        order.append(value)
    return order
