/* Counts the edges between basic blocks, apart for each segment (a layer, say) of the program. Called by Unicorn for
 * every block: the edge that followed last time is tried first, then a hash table.
 *
 * An edge is (block before, block now, segment now). A block inside one of the given address ranges changes the
 * segment to that range's; others keep it. Where a memory system is given, what must wait is counted with each edge. */
#include "memory.h"

#define NONE UINT32_MAX

typedef struct {
    uint32_t address, bytes;
} block;

/* When an edge's block makes its accesses, in ticks from its beginning; `ticks` is the whole block. */
typedef struct {
    uint32_t ticks, count;
    uint32_t accesses[];
} plan;

typedef struct {
    uint64_t count;
    plan *plan;        /* NULL: not known yet */
    uint32_t previous, current; /* blocks; previous is NONE at the start */
    uint32_t from_segment, segment;
    uint32_t next; /* the edge that followed last time */
    uint32_t address, bytes; /* of the current block */
    uint32_t has_it;         /* the current block has an If-Then instruction */
} edge;

typedef struct {
    uint32_t start, end, segment;
} range;

/* Functions of Unicorn. */
typedef struct {
    int (*read_memory)(void *uc, uint64_t address, void *bytes, uint64_t count);
    int (*read_register)(void *uc, int number, void *value);
    int (*write_register)(void *uc, int number, const void *value);
    int status; /* the number of CPSR */
} machine;

typedef struct {
    edge *edges;
    block *blocks;
    range *ranges;
    uint32_t *edge_table, *block_table; /* open addressing, NONE is empty; sizes are powers of 2 */
    uint32_t edge_count, edge_room, block_count, block_room, range_count;
    uint32_t last; /* edge, or NONE before the first block */
    uint32_t segment;
    uint32_t access; /* that the current block makes next */
    uint32_t full;   /* no memory was left */
    uint64_t bytes, limit;
    int (*stop)(void *);
    void (*ask_plan)(uint32_t edge); /* calls nd_counter_plan; NULL: time stands still but for waits */
    memory *memory;                  /* NULL: not simulated */
    machine machine;
    uint64_t *events; /* of each edge, EVENTS for each region */
} counter;

static uint32_t mix(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint64_t x = a * UINT64_C(0x9E3779B97F4A7C15) ^ b * UINT64_C(0xC2B2AE3D27D4EB4F);

    x ^= c * UINT64_C(0x165667B19E3779F9) ^ d * UINT64_C(0x27D4EB2F165667C5);
    x ^= x >> 29;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    return (uint32_t)(x >> 32);
}

static uint32_t edge_hash(const edge *e) { return mix(e->previous, e->address, e->bytes, e->from_segment); }
static uint32_t block_hash(const block *b) { return mix(b->address, b->bytes, 0, 0); }

/* Doubles an array of edges or blocks with its table (of twice the size). Returns 0 where memory is short. */
static int grow(void **items, size_t item, uint32_t **table, uint32_t *room)
{
    const uint32_t wanted = *room ? *room * 2 : 1024;
    void *larger = realloc(*items, wanted * item);

    if (!larger)
        return 0;
    *items = larger;
    uint32_t *fresh = realloc(*table, wanted * 2 * sizeof(uint32_t));
    if (!fresh)
        return 0;
    memset(fresh, 0xFF, wanted * 2 * sizeof(uint32_t));
    *table = fresh;
    *room = wanted;
    return 1;
}

/* Makes room for the events of edges that there is room for. */
static int widen(counter *c)
{
    if (!c->memory)
        return 1;
    const size_t width = EVENTS * c->memory->region_count;
    uint64_t *larger = realloc(c->events, width * c->edge_room * sizeof(uint64_t));

    if (!larger)
        return 0;
    memset(larger + width * c->edge_count, 0, width * (c->edge_room - c->edge_count) * sizeof(uint64_t));
    c->events = larger;
    return 1;
}

static void insert(uint32_t *table, uint32_t room, uint32_t hash, uint32_t index)
{
    uint32_t slot = hash & (room * 2 - 1);

    while (table[slot] != NONE)
        slot = (slot + 1) & (room * 2 - 1);
    table[slot] = index;
}

static uint32_t find_block(counter *c, uint32_t address, uint32_t bytes)
{
    const block wanted = {address, bytes};
    uint32_t slot = block_hash(&wanted) & (c->block_room * 2 - 1);

    for (; c->block_table[slot] != NONE; slot = (slot + 1) & (c->block_room * 2 - 1)) {
        const block *b = &c->blocks[c->block_table[slot]];
        if (b->address == address && b->bytes == bytes)
            return c->block_table[slot];
    }
    if (c->block_count == c->block_room) {
        if (!grow((void **)&c->blocks, sizeof(block), &c->block_table, &c->block_room))
            return NONE;
        for (uint32_t i = 0; i < c->block_count; i++)
            insert(c->block_table, c->block_room, block_hash(&c->blocks[i]), i);
    }
    c->blocks[c->block_count] = wanted;
    insert(c->block_table, c->block_room, block_hash(&wanted), c->block_count);
    return c->block_count++;
}

static uint32_t segment_at(const counter *c, uint32_t address)
{
    for (uint32_t i = 0; i < c->range_count; i++)
        if (address >= c->ranges[i].start && address < c->ranges[i].end)
            return c->ranges[i].segment;
    return c->segment;
}

/* Whether a block has an If-Then instruction: 0xBFxy with y not 0, at any halfword (a false alarm costs only time). */
static uint32_t has_it(counter *c, void *uc, uint32_t address, uint32_t bytes)
{
    uint8_t code[2];

    for (uint32_t at = 0; c->memory && at + 2 <= bytes; at += 2)
        if (c->machine.read_memory(uc, address + at, code, 2) == 0 && code[1] == 0xBF && (code[0] & 15))
            return 1;
    return 0;
}

static uint32_t find_edge(counter *c, void *uc, uint32_t previous, uint32_t address, uint32_t bytes)
{
    edge wanted = {0};

    wanted.previous = previous;
    wanted.address = address;
    wanted.bytes = bytes;
    wanted.from_segment = c->segment;
    uint32_t slot = edge_hash(&wanted) & (c->edge_room * 2 - 1);
    for (; c->edge_table[slot] != NONE; slot = (slot + 1) & (c->edge_room * 2 - 1)) {
        const edge *e = &c->edges[c->edge_table[slot]];
        if (e->previous == previous && e->address == address && e->bytes == bytes && e->from_segment == c->segment)
            return c->edge_table[slot];
    }
    wanted.current = find_block(c, address, bytes);
    if (wanted.current == NONE)
        return NONE;
    wanted.segment = segment_at(c, address);
    wanted.has_it = has_it(c, uc, address, bytes);
    wanted.next = NONE;
    if (c->edge_count == c->edge_room) {
        if (!grow((void **)&c->edges, sizeof(edge), &c->edge_table, &c->edge_room))
            return NONE;
        for (uint32_t i = 0; i < c->edge_count; i++)
            insert(c->edge_table, c->edge_room, edge_hash(&c->edges[i]), i);
        if (!widen(c))
            return NONE;
    }
    c->edges[c->edge_count] = wanted;
    insert(c->edge_table, c->edge_room, edge_hash(&wanted), c->edge_count);
    return c->edge_count++;
}

/* The block before has taken its time, and the next one is fetched. */
static void pass_time(counter *c, uint32_t last, uint32_t index, uint32_t address, uint32_t bytes)
{
    const plan *before = last == NONE ? NULL : c->edges[last].plan;

    if (before)
        c->memory->now += before->ticks;
    if (c->ask_plan && !c->edges[index].plan)
        c->ask_plan(index);
    const plan *now = c->edges[index].plan;
    c->access = 0;
    memory_fetch(c->memory, address, bytes, now ? now->ticks : 0,
                 c->events + (size_t)EVENTS * c->memory->region_count * index);
}

/* Unicorn's callback of UC_HOOK_BLOCK. */
void nd_counter_block(void *uc, uint64_t address, uint32_t bytes, void *user)
{
    counter *c = user;
    const uint32_t last = c->last;
    uint32_t index = last == NONE ? NONE : c->edges[last].next;

    if (index == NONE || c->edges[index].address != (uint32_t)address || c->edges[index].bytes != bytes) {
        index = find_edge(c, uc, last == NONE ? NONE : c->edges[last].current, (uint32_t)address, bytes);
        if (index == NONE) {
            c->full = 1;
            c->stop(uc);
            return;
        }
        if (last != NONE)
            c->edges[last].next = index;
    }
    if (c->memory)
        pass_time(c, last, index, (uint32_t)address, bytes);
    c->edges[index].count++;
    c->segment = c->edges[index].segment;
    c->last = index;
    c->bytes += bytes;
    if (c->bytes > c->limit)
        c->stop(uc);
}

/* A hooked access within an If-Then block leaves Unicorn with the state of that block, which would then reach into the
 * next translated one: nothing of it may remain. */
static void leave_it(const machine *m, void *uc)
{
    const uint32_t state = UINT32_C(0x0600FC00);
    uint32_t status = 0;

    if (m->read_register(uc, m->status, &status) == 0 && (status & state)) {
        status &= ~state;
        m->write_register(uc, m->status, &status);
    }
}

/* Unicorn's callback of UC_HOOK_MEM_READ (type 16) and UC_HOOK_MEM_WRITE (17). */
void nd_counter_access(void *uc, int type, uint64_t address, int bytes, int64_t value, void *user)
{
    counter *c = user;

    (void)value;
    if (c->last == NONE)
        return;
    if (c->edges[c->last].has_it)
        leave_it(&c->machine, uc);
    const plan *p = c->edges[c->last].plan;
    uint32_t after = 0;
    if (p && p->count) /* fewer than planned where a condition failed, more where one access became two */
        after = p->accesses[c->access < p->count ? c->access : p->count - 1];
    c->access++;
    memory_access(c->memory, (uint32_t)address, (uint32_t)bytes, type == 17, after,
                  c->events + (size_t)EVENTS * c->memory->region_count * c->last);
}

void nd_counter_free(counter *c)
{
    if (c) {
        for (uint32_t i = 0; i < c->edge_count; i++)
            free(c->edges[i].plan);
        free(c->edges);
        free(c->blocks);
        free(c->edge_table);
        free(c->block_table);
        free(c->ranges);
        free(c->events);
        memory_free(c->memory);
        free(c);
    }
}

/* ranges: count triples (start, end, segment). Counting begins in segment `segment`. Returns NULL without memory. */
counter *nd_counter_new(const uint32_t *ranges, uint32_t count, uint32_t segment, int (*stop)(void *))
{
    counter *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->ranges = malloc((count + 1) * sizeof(range));
    if (!c->ranges || !grow((void **)&c->edges, sizeof(edge), &c->edge_table, &c->edge_room) ||
        !grow((void **)&c->blocks, sizeof(block), &c->block_table, &c->block_room)) {
        nd_counter_free(c);
        return NULL;
    }
    memcpy(c->ranges, ranges, count * sizeof(range));
    c->range_count = count;
    c->segment = segment;
    c->last = NONE;
    c->stop = stop;
    return c;
}

/* Simulates a memory system from now on; arguments as for memory_new. Returns 0 where memory is short. */
int nd_counter_memory(counter *c, const uint32_t *regions, uint32_t region_count, const uint32_t *caches,
                      uint32_t cache_count, const machine *unicorn)
{
    c->machine = *unicorn;
    c->memory = memory_new(regions, region_count, caches, cache_count);
    return c->memory && widen(c);
}

/* From now on, each new edge's plan is asked for. */
void nd_counter_ask(counter *c, void (*ask_plan)(uint32_t edge)) { c->ask_plan = ask_plan; }

/* An edge's block takes so many ticks and makes `count` accesses at these. */
void nd_counter_plan(counter *c, uint32_t index, uint32_t ticks, const uint32_t *accesses, uint32_t count)
{
    plan *p = malloc(sizeof *p + count * sizeof(uint32_t));

    if (!p) {
        c->full = 1;
        return;
    }
    p->ticks = ticks;
    p->count = count;
    memcpy(p->accesses, accesses, count * sizeof(uint32_t));
    free(c->edges[index].plan);
    c->edges[index].plan = p;
}

/* Forgets what was counted, but not what the caches hold. Counting stops the emulator after `limit` bytes of instructions. */
void nd_counter_reset(counter *c, uint32_t segment, uint64_t limit)
{
    for (uint32_t i = 0; i < c->edge_count; i++)
        c->edges[i].count = 0;
    if (c->memory)
        memset(c->events, 0, (size_t)EVENTS * c->memory->region_count * c->edge_count * sizeof(uint64_t));
    if (c->memory && c->last != NONE && c->edges[c->last].plan)
        c->memory->now += c->edges[c->last].plan->ticks;
    c->last = NONE;
    c->segment = segment;
    c->bytes = 0;
    c->limit = limit;
}

uint32_t nd_counter_edges(const counter *c) { return c->edge_count; }
uint32_t nd_counter_full(const counter *c) { return c->full; }
uint64_t nd_counter_bytes(const counter *c) { return c->bytes; }

/* The events of edge i: EVENTS for each region. */
const uint64_t *nd_counter_events(const counter *c, uint32_t i)
{
    return c->events + (size_t)EVENTS * c->memory->region_count * i;
}

/* Copies edge i: previous address and bytes (0 and 0 at the start), current address and bytes, segment. */
uint64_t nd_counter_edge(const counter *c, uint32_t i, uint32_t out[5])
{
    const edge *e = &c->edges[i];
    const block none = {0, 0};
    const block *p = e->previous == NONE ? &none : &c->blocks[e->previous];

    out[0] = p->address;
    out[1] = p->bytes;
    out[2] = e->address;
    out[3] = e->bytes;
    out[4] = e->segment;
    return e->count;
}
