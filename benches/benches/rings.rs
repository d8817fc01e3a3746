//! Time of a push and a pop on one thread, by criterion.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softnet_benches::rings::spsc::{
    Crossbeam, Heapless, Ring, Ringbuf, Rtrb, Softnet, push_and_pop, push_and_pop_batches,
};

const ITEMS: u64 = 1024;

fn contender<R: Ring>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one thread, push and pop of u64");
    group.throughput(Throughput::Elements(ITEMS));
    let (mut tx, mut rx) = R::channel::<u64>();
    group.bench_function(format!("{}, one by one", R::NAME), |bencher| {
        bencher.iter(|| push_and_pop(&mut tx, &mut rx, ITEMS));
    });
    group.bench_function(format!("{}, batches of 32", R::NAME), |bencher| {
        bencher.iter(|| push_and_pop_batches(&mut tx, &mut rx, ITEMS));
    });
    group.finish();
}

criterion_group!(
    rings,
    contender::<Softnet>,
    contender::<Rtrb>,
    contender::<Ringbuf>,
    contender::<Heapless>,
    contender::<Crossbeam>
);
criterion_main!(rings);
