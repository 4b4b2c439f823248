// Reads the trades that a topic has, each once. Needs kafka-clients, avro and jackson-databind, and no other package:
// java -cp 'JARS/*' docs/examples/ReadTrades.java BROKERS REGISTRY TOPIC

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class ReadTrades {
    /** Remembers the newest ids; a message that was sent twice has the same id both times. */
    static final class Once extends LinkedHashMap<String, Boolean> {
        static final int IDS_MAX = 500_000;

        boolean isNew(String id) {
            return put(id, true) == null;
        }

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > IDS_MAX;
        }
    }

    /** Decodes messages by the schema that wrote each. */
    static final class Messages {
        private final String registry;
        private final HttpClient client = HttpClient.newHttpClient();
        private final Map<Integer, Schema> schemas = new HashMap<>();
        private final GenericData data = new GenericData();

        Messages(String registry) {
            this.registry = registry;
            data.addLogicalTypeConversion(new Conversions.DecimalConversion());
        }

        GenericRecord record(byte[] message) throws IOException, InterruptedException {
            ByteBuffer header = ByteBuffer.wrap(message);
            if (header.get() != 0) {
                throw new IOException("not a message of a schema registry");
            }
            Schema schema = schema(header.getInt());
            var decoder = DecoderFactory.get().binaryDecoder(message, 5, message.length - 5, null);
            return (GenericRecord) new GenericDatumReader<>(schema, schema, data).read(null, decoder);
        }

        private Schema schema(int id) throws IOException, InterruptedException {
            if (!schemas.containsKey(id)) {
                var asked = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
                var answer = client.send(asked, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() != 200) {
                    throw new IOException("schema " + id + ": HTTP " + answer.statusCode());
                }
                String text = new ObjectMapper().readTree(answer.body()).get("schema").asText();
                schemas.put(id, new Schema.Parser().parse(text));
            }
            return schemas.get(id);
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", words[0], "auto.offset.reset", "earliest");
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo each : consumer.partitionsFor(words[2])) {
                partitions.add(new TopicPartition(each.topic(), each.partition()));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            Once once = new Once();
            Messages messages = new Messages(words[1]);
            while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                for (ConsumerRecord<byte[], byte[]> message : consumer.poll(Duration.ofSeconds(1))) {
                    byte[] id = message.headers().lastHeader("id").value();
                    if (once.isNew(new String(id, StandardCharsets.UTF_8))) {
                        show(messages.record(message.value()));
                    }
                }
            }
        }
    }

    static void show(GenericRecord trade) {
        System.out.printf(
            "%s %s %s at %s%n",
            trade.get("message_id"), trade.get("side"), plain(trade.get("quantity")), plain(trade.get("price")));
    }

    static String plain(Object number) {
        return ((BigDecimal) number).stripTrailingZeros().toPlainString();
    }
}
