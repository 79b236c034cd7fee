// Runs the kernels of runtime/kernels/cuda.cu block by block; see grid.h. Faults end the launch with a message: an access
// beyond a plane (the caller puts it next to a page that cannot be touched), a misaligned one, an index beyond an array.
#include "grid.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#include "cuda.cu"

KernelEntry* KernelEntry::first = nullptr;

static constexpr size_t STACK = 128 * 1024;
static constexpr int MOST_THREADS = 1024;

struct Fiber {
    ucontext_t context;
    Index index;
    bool ended;
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static Fiber* running;
static const KernelEntry* kernel;
static const void* arguments;
static int gathered, agreed;
static sigjmp_buf escape;
static char message[400];

int meet(int value) {
    gathered |= value;
    swapcontext(&running->context, &scheduler);
    return agreed;
}

static void live() {
    kernel->call(arguments);
    running->ended = true;
    swapcontext(&running->context, &scheduler);
}

static void on_fault(int signal, siginfo_t* info, void*) {
    const char* what = signal == SIGSEGV || signal == SIGBUS ? "touched memory that is not its own"
                                                             : "was misaligned, out of an array's bounds or overflowed";
    snprintf(message, sizeof message, "%s: block (%u, %u), thread (%u, %u) %s, at %p", kernel->name, blockIdx.x, blockIdx.y,
             threadIdx.x, threadIdx.y, what, info->si_addr);
    siglongjmp(escape, 1);
}

static void* stacks() {
    static void* memory = mmap(nullptr, STACK * MOST_THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory;
}

// Runs every thread to its next barrier or its end. Returns how many ended; all or none must.
static size_t run_round(bool backwards) {
    size_t ended = 0;
    for (size_t i = 0; i < fibers.size(); i++) {
        running = &fibers[backwards ? fibers.size() - 1 - i : i];
        threadIdx = running->index;
        swapcontext(&scheduler, &running->context);
        ended += running->ended;
    }
    agreed = gathered;
    gathered = 0;
    return ended;
}

extern "C" char __start_shared_memory[], __stop_shared_memory[];   // by the linker

static bool run_block(bool backwards) {
    memset(__start_shared_memory, 0xff, (size_t)(__stop_shared_memory - __start_shared_memory));
    for (size_t i = 0; i < fibers.size(); i++) {
        Fiber& fiber = fibers[i];
        const unsigned n = (unsigned)i;
        fiber.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / (blockDim.x * blockDim.y)};
        fiber.ended = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = (char*)stacks() + STACK * i;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, live, 0);
    }
    for (;;) {
        const size_t ended = run_round(backwards);
        if (ended == fibers.size()) return true;
        if (ended == 0) continue;
        snprintf(message, sizeof message, "%s: block (%u, %u): %zu of %zu threads met no barrier", kernel->name, blockIdx.x,
                 blockIdx.y, ended, fibers.size());
        return false;
    }
}

static bool run_grid(bool backwards) {
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
                if (!run_block(backwards)) return false;
    return true;
}

// Returns what went wrong, or null.
extern "C" const char* launch(const char* name, const unsigned* grid, const unsigned* block, const void* params,
                              size_t params_bytes, int backwards) {
    for (kernel = KernelEntry::first; kernel && strcmp(kernel->name, name) != 0;) kernel = kernel->next;
    if (!kernel) return "there is no kernel of that name";
    if (kernel->params_bytes != params_bytes) return "the parameters have another size than the kernel's";
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    if (block[0] * block[1] * block[2] > MOST_THREADS) return "a block has too many threads";
    alignas(16) static char copy[4096];
    memcpy(copy, params, params_bytes);
    arguments = copy;
    fibers.resize(block[0] * block[1] * block[2]);
    gathered = agreed = 0;
    struct sigaction action = {}, before[3];
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    const int signals[3] = {SIGSEGV, SIGBUS, SIGILL};
    for (int i = 0; i < 3; i++) sigaction(signals[i], &action, &before[i]);
    const bool good = sigsetjmp(escape, 1) == 0 && run_grid(backwards != 0);
    for (int i = 0; i < 3; i++) sigaction(signals[i], &before[i], nullptr);
    return good ? nullptr : message;
}

extern "C" const char* kernel_names() {
    static char names[1000];
    names[0] = 0;
    for (const KernelEntry* entry = KernelEntry::first; entry; entry = entry->next) {
        strcat(names, entry->name);
        strcat(names, " ");
    }
    return names;
}
