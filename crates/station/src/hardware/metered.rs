//! One current sensor for two parts: the meter that is made of it, and the sensor itself. Both have to say the same of the same
//! instant, and a sensor takes its time to be read.

use super::integrating::EnergyIntegrator;
use super::{CurrentSensor, EnergyMeter, HardwareError, Part};
use eroam_domain::quantity::{MilliAmperes, WattHours};
use eroam_domain::time::UnixMillis;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Read {
    sensor: Box<dyn CurrentSensor + Send>,
    integrator: EnergyIntegrator,
    /// What it showed the last time, if it answered.
    current: Option<MilliAmperes>,
}

/// A sensor that its host reads once a sampling interval. Cheap to clone; all clones are the same sensor.
#[derive(Clone)]
pub struct MeteredSensor(Arc<Mutex<Read>>);

impl MeteredSensor {
    /// `integrator` sums up what `sensor` shows.
    #[must_use]
    pub fn new(sensor: Box<dyn CurrentSensor + Send>, integrator: EnergyIntegrator) -> Self {
        Self(Arc::new(Mutex::new(Read { sensor, integrator, current: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the sensor. If it does not answer, nothing is counted, and both parts are silent until it does.
    pub fn read(&self, at: UnixMillis) {
        let read = &mut *self.lock();
        read.current = read.sensor.current().ok();
        if let Some(current) = read.current {
            read.integrator.add(at, current);
        }
    }

    /// What was counted so far, whether the sensor answers or not.
    #[must_use]
    pub fn counted(&self) -> WattHours {
        self.lock().integrator.register()
    }
}

impl CurrentSensor for MeteredSensor {
    fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
        self.lock().current.ok_or(HardwareError::silent(Part::Sensor))
    }
}

impl EnergyMeter for MeteredSensor {
    fn register(&mut self) -> Result<WattHours, HardwareError> {
        let read = self.lock();
        read.current.map(|_| read.integrator.register()).ok_or(HardwareError::silent(Part::Meter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::quantity::DurationMs;

    /// Shows one after the other.
    struct Shows(Vec<Option<u64>>);

    impl CurrentSensor for Shows {
        fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
            self.0.remove(0).map(MilliAmperes::new).ok_or(HardwareError::silent(Part::Sensor))
        }
    }

    #[test]
    fn sensor_and_meter_are_silent_together_and_what_nobody_saw_is_not_counted() {
        let sensor = Shows(vec![Some(10_000), Some(10_000), None, Some(10_000), Some(10_000)]);
        let gap_max = DurationMs::from_millis(3_600_000);
        let integrator = EnergyIntegrator::new(WattHours::from_milli_wh(7_000), 230, 1, gap_max);
        let metered = MeteredSensor::new(Box::new(sensor), integrator);
        let (mut meter, mut sensor) = (metered.clone(), metered.clone());
        assert!(meter.register().is_err() && sensor.current().is_err(), "nobody has looked");
        let at = |hour: i64| UnixMillis::new(hour * 3_600_000).unwrap();
        let mut registers = Vec::new();
        for hour in 0..5 {
            metered.read(at(hour));
            assert_eq!(sensor.current().ok(), meter.register().ok().map(|_| MilliAmperes::new(10_000)));
            registers.push(meter.register().ok());
        }
        // 2.3 kWh an hour; the hours around the silence are longer than the longest gap.
        let wh = |wh: u64| Some(WattHours::from_milli_wh(wh * 1_000));
        assert_eq!(registers, [wh(7), wh(2_307), None, wh(2_307), wh(4_607)]);
        assert_eq!(metered.counted(), WattHours::from_milli_wh(4_607_000));
    }
}
