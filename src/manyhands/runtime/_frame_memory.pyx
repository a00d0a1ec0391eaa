# cython: language_level=3
"""Keeps the frame memory of workers that have ended: see `compiled`."""

cdef extern from "Python.h":
    ctypedef struct PyObjectArenaAllocator:
        void* ctx
        void* (*alloc)(void* ctx, size_t size) noexcept nogil
        void (*free)(void* ctx, void* memory, size_t size) noexcept nogil
    void PyObject_GetArenaAllocator(PyObjectArenaAllocator* allocator)
    void PyObject_SetArenaAllocator(PyObjectArenaAllocator* allocator)

cdef extern from *:
    """
    /* Interpreters with a lock each share the allocator. One that meets another one here does without. */
    static volatile char is_taken;
    #define take() (!__atomic_test_and_set(&is_taken, __ATOMIC_ACQUIRE))
    #define give_back() __atomic_clear(&is_taken, __ATOMIC_RELEASE)
    """
    bint take() nogil
    void give_back() nogil

DEF CHUNK = 16 * 1024
DEF AT_MOST = 256

cdef PyObjectArenaAllocator usual
cdef void* kept[AT_MOST]
cdef int count = 0
cdef bint is_keeping = False


cdef void* allocate(void* ctx, size_t size) noexcept nogil:
    global count
    cdef void* memory = NULL
    if size == CHUNK and count and take():
        if count:
            count -= 1
            memory = kept[count]
        give_back()
    return usual.alloc(usual.ctx, size) if memory is NULL else memory


cdef void release(void* ctx, void* memory, size_t size) noexcept nogil:
    global count
    cdef bint is_kept = False
    if size == CHUNK and count < AT_MOST and take():
        if count < AT_MOST:
            kept[count] = memory
            count += 1
            is_kept = True
        give_back()
    if not is_kept:
        usual.free(usual.ctx, memory, size)


def keep():
    """Keep the frame memory of threads and fibers that end from now on, for the next ones."""
    global is_keeping
    cdef PyObjectArenaAllocator ours
    if is_keeping:
        return
    is_keeping = True
    PyObject_GetArenaAllocator(&usual)
    ours.ctx = NULL
    ours.alloc = allocate
    ours.free = release
    PyObject_SetArenaAllocator(&ours)


def kept_chunks():
    """Return how many pieces are kept at the moment."""
    return count
