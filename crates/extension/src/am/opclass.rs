//! The support function of each operator class: says which metric and which element type it is.

use howdah_index::options::Metric;
use pgrx::prelude::*;

use crate::types::{Element, Opclass};

macro_rules! opclass {
    ($name:ident, $metric:ident, $element:ident) => {
        #[doc = concat!("Operator class code of metric ", stringify!($metric), " over element ", stringify!($element), ".")]
        #[pg_extern(sql = false, immutable, strict, parallel_safe)]
        fn $name() -> i32 {
            Opclass { metric: Metric::$metric, element: Element::$element }.code()
        }
    };
}

opclass!(howdah_vector_l2, L2, Single);
opclass!(howdah_vector_ip, InnerProduct, Single);
opclass!(howdah_vector_cosine, Cosine, Single);
opclass!(howdah_halfvec_l2, L2, Half);
opclass!(howdah_halfvec_ip, InnerProduct, Half);
opclass!(howdah_halfvec_cosine, Cosine, Half);
