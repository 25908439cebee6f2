import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.security.MessageDigest;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.io.*;
import org.apache.hadoop.mapred.JobConf;
import org.apache.hadoop.mapred.Reporter;
import org.apache.hadoop.mapreduce.*;
import org.apache.hadoop.mapreduce.lib.input.FileInputFormat;
import org.apache.hadoop.mapreduce.lib.output.FileOutputFormat;
import org.apache.hadoop.mapreduce.task.TaskAttemptContextImpl;
import org.apache.hadoop.util.ReflectionUtils;

/**
 * Reads and writes by Hadoop's own formats. Each line of the input is a request, its fields separated by tabs:
 *
 *   read   format path settings...              a line "split" for each split, a line "key TAB value" for each pair
 *   write  format path kind count settings...   writes the pairs 0 to count - 1 of a kind; see pair()
 *   file   path                                 what SequenceFile.Reader says of a file: its classes and compression
 *
 * Settings are name=value. An answer ends with a line "done", or "failed: why". In texts, \ TAB and LF are escaped.
 */
public class HadoopFormats {
    private static final String OLD_API = "org.apache.hadoop.mapred.";

    public static void main(String[] arguments) throws Exception {
        Thread.currentThread().setContextClassLoader(HadoopFormats.class.getClassLoader()); // it knows Ints
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line; (line = requests.readLine()) != null; ) {
            StringBuilder answer = new StringBuilder();
            try {
                answer(line.split("\t", -1), answer);
                answer.append("done\n");
            } catch (Exception | LinkageError error) {
                error.printStackTrace();
                answer.append("failed: ").append(escaped(error.toString())).append('\n');
            }
            System.out.write(answer.toString().getBytes("UTF-8"));
            System.out.flush();
        }
    }

    private static void answer(String[] request, StringBuilder answer) throws Exception {
        String what = request[0];
        if (what.equals("file")) {
            describe(new Path(request[1]), answer);
            return;
        }
        String format = request[1];
        Configuration conf = new Configuration();
        for (int i = what.equals("read") ? 3 : 5; i < request.length; i++) {
            String[] setting = request[i].split("=", 2);
            conf.set(setting[0], setting[1].replace("\\n", "\n").replace("\\t", "\t"));
        }
        boolean old = format.startsWith(OLD_API);
        if (what.equals("read")) {
            if (old) readOld(format, request[2], conf, answer);
            else readNew(format, request[2], conf, answer);
        } else if (old) {
            writeOld(format, request[2], request[3], Integer.parseInt(request[4]), conf);
        } else {
            writeNew(format, request[2], request[3], Integer.parseInt(request[4]), conf);
        }
    }

    private static void describe(Path path, StringBuilder answer) throws Exception {
        try (SequenceFile.Reader reader = new SequenceFile.Reader(new Configuration(), SequenceFile.Reader.file(path))) {
            answer.append(reader.getKeyClassName()).append('\t').append(reader.getValueClassName()).append('\t');
            answer.append(reader.getCompressionType()).append('\n');
        }
    }

    @SuppressWarnings("unchecked")
    private static void readNew(String format, String path, Configuration conf, StringBuilder answer) throws Exception {
        Job job = Job.getInstance(conf);
        FileInputFormat.addInputPath(job, new Path(path));
        InputFormat<Object, Object> input =
            (InputFormat<Object, Object>) ReflectionUtils.newInstance(Class.forName(format), job.getConfiguration());
        for (InputSplit split : input.getSplits(job)) {
            answer.append("split\n");
            TaskAttemptContext task = new TaskAttemptContextImpl(job.getConfiguration(), new TaskAttemptID());
            try (RecordReader<Object, Object> reader = input.createRecordReader(split, task)) {
                reader.initialize(split, task);
                while (reader.nextKeyValue()) append(answer, reader.getCurrentKey(), reader.getCurrentValue());
            }
        }
    }

    @SuppressWarnings("unchecked")
    private static void readOld(String format, String path, Configuration conf, StringBuilder answer) throws Exception {
        JobConf job = new JobConf(conf);
        org.apache.hadoop.mapred.FileInputFormat.setInputPaths(job, new Path(path));
        org.apache.hadoop.mapred.InputFormat<Object, Object> input =
            (org.apache.hadoop.mapred.InputFormat<Object, Object>) ReflectionUtils.newInstance(Class.forName(format), job);
        for (org.apache.hadoop.mapred.InputSplit split : input.getSplits(job, job.getNumMapTasks())) {
            answer.append("split\n");
            org.apache.hadoop.mapred.RecordReader<Object, Object> reader =
                input.getRecordReader(split, job, Reporter.NULL);
            Object key = reader.createKey(), value = reader.createValue();
            while (reader.next(key, value)) append(answer, key, value);
            reader.close();
        }
    }

    @SuppressWarnings("unchecked")
    private static void writeNew(String format, String path, String kind, int count, Configuration conf) throws Exception {
        Job job = Job.getInstance(conf);
        job.setOutputKeyClass(pair(kind, 0)[0].getClass());
        job.setOutputValueClass(pair(kind, 0)[1].getClass());
        FileOutputFormat.setOutputPath(job, new Path(path));
        OutputFormat<Object, Object> output =
            (OutputFormat<Object, Object>) ReflectionUtils.newInstance(Class.forName(format), job.getConfiguration());
        TaskAttemptID id = new TaskAttemptID("0", 0, TaskType.REDUCE, 0, 0);
        job.getConfiguration().set("mapreduce.task.attempt.id", id.toString());
        TaskAttemptContext task = new TaskAttemptContextImpl(job.getConfiguration(), id);
        OutputCommitter committer = output.getOutputCommitter(task);
        committer.setupJob(task);
        committer.setupTask(task);
        RecordWriter<Object, Object> writer = output.getRecordWriter(task);
        for (int i = 0; i < count; i++) {
            Writable[] pair = pair(kind, i);
            writer.write(pair[0], pair[1]);
        }
        writer.close(task);
        committer.commitTask(task);
        committer.commitJob(task);
    }

    @SuppressWarnings("unchecked")
    private static void writeOld(String format, String path, String kind, int count, Configuration conf) throws Exception {
        JobConf job = new JobConf(conf);
        job.setOutputKeyClass(pair(kind, 0)[0].getClass());
        job.setOutputValueClass(pair(kind, 0)[1].getClass());
        org.apache.hadoop.mapred.FileOutputFormat.setOutputPath(job, new Path(path));
        org.apache.hadoop.mapred.OutputFormat<Object, Object> output =
            (org.apache.hadoop.mapred.OutputFormat<Object, Object>) ReflectionUtils.newInstance(Class.forName(format), job);
        org.apache.hadoop.mapred.TaskAttemptID id =
            new org.apache.hadoop.mapred.TaskAttemptID("0", 0, TaskType.REDUCE, 0, 0);
        job.set("mapreduce.task.attempt.id", id.toString());
        job.set("mapreduce.task.id", id.getTaskID().toString());
        job.setInt("mapreduce.task.partition", 0);
        org.apache.hadoop.mapred.TaskAttemptContext task = new org.apache.hadoop.mapred.TaskAttemptContextImpl(job, id);
        org.apache.hadoop.mapred.JobContext whole = new org.apache.hadoop.mapred.JobContextImpl(job, id.getJobID());
        org.apache.hadoop.mapred.OutputCommitter committer = job.getOutputCommitter();
        committer.setupJob(whole);
        committer.setupTask(task);
        org.apache.hadoop.mapred.RecordWriter<Object, Object> writer =
            output.getRecordWriter(null, job, "part-00000", Reporter.NULL);
        for (int i = 0; i < count; i++) {
            Writable[] pair = pair(kind, i);
            writer.write(pair[0], pair[1]);
        }
        writer.close(Reporter.NULL);
        committer.commitTask(task);
        committer.commitJob(whole);
    }

    /** The i-th pair of a kind; tests have the same in Python. */
    private static Writable[] pair(String kind, int i) throws Exception {
        switch (kind) {
            case "noise": // is hardly compressed
                byte[] digest = MessageDigest.getInstance("SHA-512").digest(Integer.toString(i).getBytes("UTF-8"));
                return new Writable[] {new IntWritable(i), new Text(String.format("%0128x", new BigInteger(1, digest)))};
            case "text":
                return new Writable[] {new Text("key " + i), new Text("wert ü " + "x".repeat(i % 200))};
            case "numbers":
                return new Writable[] {new IntWritable(i - 2), new DoubleWritable(i / 4.0)};
            case "long":
                return new Writable[] {new LongWritable(i * 10_000_000_000L), new FloatWritable(i / 8f)};
            case "bytes":
                return new Writable[] {NullWritable.get(), new BytesWritable(new byte[] {(byte) i, 0, -1})};
            case "flags":
                return new Writable[] {new BooleanWritable(i % 2 == 1), NullWritable.get()};
            case "short":
                return new Writable[] {new ShortWritable((short) -i), new ByteWritable((byte) -i)};
            case "variable":
                return new Writable[] {new VIntWritable(i * i * i - 300), new VLongWritable(-(1L << (i % 63)))};
            case "array":
                ArrayWritable array = new ArrayWritable(IntWritable.class);
                array.set(new Writable[] {new IntWritable(i), new IntWritable(-i)});
                return new Writable[] {new IntWritable(i), array};
            case "ints":
                return new Writable[] {new IntWritable(i), new Ints(i)};
            case "map":
                MapWritable map = new MapWritable(), inner = new MapWritable();
                inner.put(new Text("half"), new DoubleWritable(i / 2.0));
                map.put(new Text("number"), new IntWritable(i));
                map.put(new LongWritable(i), NullWritable.get());
                map.put(new Text("inner"), inner);
                map.put(new Text("bytes"), new BytesWritable(new byte[] {(byte) i}));
                return new Writable[] {new IntWritable(i), map};
            default:
                throw new IllegalArgumentException("no such kind: " + kind);
        }
    }

    /** What programs have to write for arrays that Hadoop can read. */
    public static class Ints extends ArrayWritable {
        public Ints() {
            super(IntWritable.class);
        }

        Ints(int i) {
            this();
            set(new Writable[] {new IntWritable(i), new IntWritable(i * i)});
        }
    }

    private static void append(StringBuilder answer, Object key, Object value) {
        answer.append(escaped(key.toString())).append('\t').append(escaped(value.toString())).append('\n');
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n");
    }
}
