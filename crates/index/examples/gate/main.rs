//! The gate: do inverted lists with split codes reach the recall wanted within the time a query may take?
//!
//! `cargo run --release -p howdah-index --example gate -- <folder of the real embeddings>` prints one table for each
//! data set: for every number of lists, share of rows kept twice and bits a dimension, how many codes are scanned,
//! refined and compared exactly for a recall@10 of 0.95 and 0.99, and what that costs on one core. The codes lie on
//! 8 KiB pages, the threshold runs, nothing scanned is kept. The last column multiplies out what the same work costs
//! inside a server, where every page access costs a quarter of a microsecond and every row fetched 0.7.

#[path = "../support/data.rs"]
mod data;
mod lists;
mod run;

use data::Data;

fn main() -> std::io::Result<()> {
    println!("machine: {}", data::machine());
    println!("kernels: {}", howdah_index::distance::kernels().name);
    let pick = std::env::args().nth(2).unwrap_or_default();
    if pick != "generated" {
        match data::folder() {
            Some(folder) => gate(&data::real(&folder, 119_982, 500)?),
            None => println!("skipped: no folder of real embeddings given"),
        }
    }
    if pick != "real" {
        gate(&data::generated(100_000, 300, 768, 1));
    }
    Ok(())
}

fn gate(data: &Data) {
    let n = data.rows();
    println!(
        "\n## {}: {n} rows x {}, intrinsic dimension {:.1}\n",
        data.name,
        data.width,
        data.intrinsic_dimension()
    );
    let prepared = lists::Prepared::new(data);
    run::print_head();
    let root = (n as f64).sqrt();
    let counts =
        [("√N", root), ("N/256", n as f64 / 256.0), ("N/100", n as f64 / 100.0), ("4√N", 4.0 * root)];
    for (name, count) in counts {
        let trained = lists::train(&prepared, count as usize);
        for spill in [1.0, 1.2, 1.5] {
            let built = lists::build(&prepared, &trained, spill);
            run::report(data, &prepared, &built, name, spill);
        }
    }
}
